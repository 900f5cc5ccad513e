"""Rendering without a display for every test, however pytest is called; costly parts, shared."""

import os
from collections.abc import Iterator
from functools import cache, partial

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")


@pytest.fixture(scope="session")
def few_handovers() -> Iterator[None]:
    """What skills leave behind is made once, and of few episodes: many would take half a minute."""
    from moe_robot_control.learning import bench_suite, problems
    from moe_robot_control.world.handovers import Handovers

    few = cache(partial(Handovers, count=16, num_threads=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_suite, "Handovers", few)
        patch.setattr(problems, "Handovers", lambda skill, num_threads: few(skill))
        yield


@pytest.fixture
def short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a skill on the bench, for what does not ask how they end."""
    monkeypatch.setattr("moe_robot_control.world.envs.STEPS_PER_SKILL", 6)
