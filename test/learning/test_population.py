"""Population-based training on real Ray workers, with a problem whose optimum is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from moe_robot_control.learning.population import (
    RECORD,
    Event,
    Explored,
    Population,
    Progress,
    Work,
    is_better,
)
from moe_robot_control.learning.settings import TrainingError

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    """Two of them, for all tests here; tests' own modules must be found there."""
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )  # fmt: skip
    yield
    ray.shutdown()


def climb(work: Work) -> Progress:
    """Jaderberg et al. 2017, fig. 2: Q = 1.2 - (a^2 + b^2) is seen only through
    1.2 - (h0 a^2 + h1 b^2), of which a member climbs the gradient."""
    theta = np.array([0.9, 0.8]) if work.state is None else np.frombuffer(work.state).copy()
    h = np.array([work.settings["h0"], work.settings["h1"]])
    for _ in range(4):
        theta -= 0.02 * 2.0 * h * theta
    quality = 1.2 - float(np.square(theta).sum())
    return Progress(theta.tobytes(), [quality, quality], {"theta": theta.tolist()})


SETTINGS = [{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}]
EXPLORED = {name: Explored(step=0.2, low=0.0, high=1.0) for name in ("h0", "h1")}


def population(folder: Path, train=climb, intervals: int = 60, **options) -> Population:
    options = {"seed": 0, "deterministic": True} | options
    return Population(train, SETTINGS, EXPLORED, intervals, folder=folder, **options)


def plain(lineage: list[Event]) -> list[tuple]:
    return [(e.member, e.interval, tuple(e.settings.items()), e.score, e.parent) for e in lineage]


def test_it_finds_the_optimum_that_no_fixed_setting_finds(tmp_path: Path) -> None:
    for i, (settings, left) in enumerate(zip(SETTINGS, (0.8, 0.9), strict=True)):
        state = None
        for interval in range(60):
            progress = climb(Work(i, interval, state, settings, 0))
            state = progress.state
        assert progress.scores[0] == pytest.approx(1.2 - left**2, abs=0.01)
    whole = population(tmp_path)
    lineage = whole.run()
    assert max(e.score for e in lineage) > 1.19
    assert any(e.parent != e.member for e in lineage)
    assert np.frombuffer(whole.state_of(whole.best())).size == 2


def test_one_seed_gives_one_lineage(tmp_path: Path) -> None:
    first, second, other = (
        population(tmp_path / name, intervals=12, seed=seed).run()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert plain(first) == plain(second) != plain(other)


def test_members_need_not_wait_for_one_another(tmp_path: Path) -> None:
    lineage = population(tmp_path, intervals=8, deterministic=False).run()
    assert sorted((e.member, e.interval) for e in lineage) == [
        (m, i) for m in range(2) for i in range(8)
    ]


def test_who_is_behind_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    lineage = population(tmp_path, intervals=4, deterministic=False).run()
    assert [event.interval for event in lineage] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_worker_that_dies_costs_an_interval_alone(tmp_path: Path) -> None:
    mark = tmp_path / "killed"

    def fragile(work: Work) -> Progress:
        if work.interval == 2 and work.member == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return climb(work)

    expected = population(tmp_path / "whole", intervals=5).run()
    for deterministic in (True, False):
        mark.unlink(missing_ok=True)
        folder = tmp_path / f"killed_{deterministic}"
        whole = population(folder, fragile, 5, deterministic=deterministic)
        lineage = whole.run()
        assert mark.exists() and len(lineage) == 10
        if deterministic:
            assert plain(lineage) == plain(expected)


def test_workers_that_always_die_end_the_run(tmp_path: Path) -> None:
    def deadly(work: Work) -> Progress:
        os.kill(os.getpid(), signal.SIGKILL)
        return climb(work)

    with pytest.raises(TrainingError, match=r"member \d: 3 workers died"):
        population(tmp_path, deadly, 2).run()


def test_an_error_in_training_is_told(tmp_path: Path) -> None:
    def wrong(work: Work) -> Progress:
        raise ValueError("no such bench")

    with pytest.raises(TrainingError, match="no such bench"):
        population(tmp_path, wrong, 2).run()


DRIVER = """
import sys
from pathlib import Path
import ray
from test_population import population, climb
ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
whole = population(Path(sys.argv[1]), climb, 60, tell=lambda e: print(e.interval, flush=True))
whole.run()
"""


def test_a_driver_that_is_killed_is_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,
    )
    try:
        for line in driver.stdout:
            if int(line) >= 10:
                break
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    done = len(json.loads((folder / RECORD).read_text())["lineage"])
    assert 20 <= done < 120
    with pytest.raises(TrainingError, match="is there already: --resume"):
        population(folder, intervals=60)
    whole = population(folder, intervals=60, resume=True)
    assert len(whole.lineage) == done
    assert plain(whole.run()) == plain(population(tmp_path / "whole").run())
    assert not list(folder.glob("*.tmp"))


def test_records_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        population(tmp_path, resume=True)
    population(tmp_path, intervals=2).run()
    with pytest.raises(TrainingError, match="other settings"):
        population(tmp_path, intervals=2, seed=5, resume=True)
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(TrainingError, match="not a readable record"):
        population(tmp_path, intervals=2, resume=True)
    with pytest.raises(TrainingError, match="needs members"):
        Population(climb, [], {}, 1, 0, tmp_path)


def test_a_better_member_must_be_better_for_certain() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(0.0, 1.0, 30).tolist()
    assert is_better((np.array(own) + 2.0).tolist(), own, 0.05)
    assert not is_better((np.array(own) + 0.05).tolist(), own, 0.05)
    assert not is_better(own, (np.array(own) + 2.0).tolist(), 0.05)
    assert is_better([1.0, 1.0], [0.5, 0.5], 0.05) and not is_better([0.5], [1.0], 0.05)


def test_exploring_stays_within_bounds() -> None:
    rng = np.random.default_rng(0)
    step, factor = Explored(step=0.1, low=0.0, high=1.0), Explored(factor=1.2, low=0.0, high=1.0)
    assert {round(step.explore(0.05, rng), 6) for _ in range(50)} == {0.0, 0.15}
    found = {round(factor.explore(0.5, rng), 6) for _ in range(50)}
    assert found == {round(0.6, 6), round(0.5 / 1.2, 6)}
