"""Some of the faults on the real graph; times are measured by benchmarks/faults.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moe_robot_control.nodes.domain import reserved_domain
from safety.cases import all_cases
from safety.policies import ASLEEP, WEIGHTS, write_policies
from safety.records import Command, first_run
from safety.report import write_section
from safety.rig import Rig
from safety.trial import STOPS, run

CASES = {case.name: case for case in all_cases()}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The graph on a rehearsal arm, both with patience for a slow machine."""
    folder = tmp_path_factory.mktemp("policies")
    write_policies(folder)
    experts = (*WEIGHTS, ASLEEP)
    arm = {"furniture": False, "timeout": 1.5}
    commander = {"max_age": 1.0, "joint_state_deadline": 1.0}
    options = {"experts": experts, "arm": arm, "commander": commander}
    with reserved_domain() as domain, Rig(domain, folder, **options) as rig:
        yield rig


@pytest.mark.parametrize(
    "name",
    [
        "kill_gate",
        "freeze_sleeping_expert",
        "freeze_expert",
        "drop_joint_states",
        "nan_weights",
        "nan_twist",
        "missing_joint_states",
        "reorder_joints",
        "stop_by_service",
        "loss_20",
    ],
)
def test_fault(rig: Rig, name: str) -> None:
    result = run(CASES[name], rig, limit=5.0)
    assert result.passed, f"{result}\n{rig.output.getvalue()[-2000:]}"


def test_at_least_thirty_cases_cover_what_can_go_wrong() -> None:
    assert len(CASES) >= 30
    for word in ("kill_", "freeze_", "drop_", "delay_", "duplicate_", "reorder_", "clock_", "nan_"):
        assert sum(name.startswith(word) for name in CASES) >= 3, word
    assert sum(case.expected == STOPS for case in CASES.values()) >= 30


def test_a_run_of_commands() -> None:
    speeds = [0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 0.1]
    commands = [Command(10 * i, speed) for i, speed in enumerate(speeds)]
    assert first_run(commands, 0, False, 2) == 30
    assert first_run(commands, 35, False, 2) == 40
    assert first_run(commands, 0, True, 2) is None


def test_sections_of_the_page_are_replaced_one_by_one(tmp_path: Path) -> None:
    page = tmp_path / "safety.md"
    write_section("endurance", "Endurance", "old | text", {}, page)
    write_section("faults", "Faults", "all passed", [1], page)
    write_section("endurance", "Endurance", "new text", {}, page)
    text = page.read_text()
    assert "old" not in text
    assert text.index("## Faults") < text.index("## Endurance") < text.index("new text")
