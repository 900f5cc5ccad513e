"""What ROMAN is measured on: every experiment of `moe-robot-control evaluate roman`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.evaluation.policies_in_simulation import (
    Controller,
    expert,
    mixture,
    monolithic,
    oracle,
    run_in_simulation,
)
from moe_robot_control.evaluation.report import stopped_at, wilson
from moe_robot_control.policies.spaces import ALL_SCENARIOS, SKILLS
from moe_robot_control.world.disturbances import KINDS
from moe_robot_control.world.observers import PERCEPTION_ERRORS, CameraObserver, ErrorModel

NOISE = (0.0, 0.005, 0.01, 0.02, 0.03)
"""Of every look at every object [m]."""
PROPRIOCEPTION = (0.002, 0.005, 0.01)
"""Of every measurement of the end effector [m]; of the gripper's opening a fifth of it."""
SECTIONS = (
    "skills", "scenarios", "noise", "proprioception", "disturbances", "camera",
    "baselines", "baselines disturbed", "baselines noise",
)  # fmt: skip
METHODS: dict[str, str] = {
    "roman": "ROMAN",
    "oracle": "oracle gate (knows the stage)",
    "hard_gate": "hard (argmax) gate",
    "sparse_gate": "sparse gate (noisy top-2)",
    "bc_only": "BC only",
    "gail_only": "GAIL only",
    "ppo_only": "PPO only",
    "monolithic": "monolithic network",
    "no_bc": "without BC",
    "no_gail": "without GAIL",
    "no_task": "without task reward",
    "state_action": "state-action discriminator",
}
"""Names of the methods in tables; ROMAN and the oracle first, then rivals, then ablations."""
OVER_ROMAN = ("roman", "oracle", "hard_gate")
"""Methods that need no models but ROMAN's own."""
FROM_SCRATCH = ("gail_only", "ppo_only", "no_bc")
"""Methods that do not begin from cloning: only measured where nothing makes it harder."""
HARD = ErrorModel(PERCEPTION_ERRORS.position_bias, 0.02)


class SuiteError(MoeRobotControlError):
    """An experiment that cannot be run as asked."""


@dataclass(frozen=True)
class Experiment:
    """Some episodes of one method under one condition.

    Attributes:
        section: of the report; out of `SECTIONS`.
        method: key of `METHODS`.
        condition: in words.
        scenario, skill: what is to be done; one of them.
        errors: of the observations.
        disturbances: kinds, one of which disturbs every episode; none if empty.
        camera: observe through rendered images instead of the error model.
        episodes: how many, with seeds from `seed` on.
    """

    section: str
    method: str
    condition: str
    scenario: int | None = None
    skill: str | None = None
    errors: ErrorModel = PERCEPTION_ERRORS
    disturbances: tuple[str, ...] = ()
    camera: bool = False
    episodes: int = 100
    seed: int = 10_000

    @property
    def task(self) -> str:
        """`3` for scenario 3, or the skill's name."""
        return self.skill or str(self.scenario)


@dataclass(frozen=True)
class Result:
    """How an experiment went.

    Attributes:
        experiment: what was run.
        success, episodes: how many succeeded, out of how many that count: where an episode is
            to be disturbed, those in which it happened.
        time: mean simulated time of the successes [s], or None.
        stopped_at: how many of the others ended at which skill.
    """

    experiment: Experiment
    success: int
    episodes: int
    time: float | None
    stopped_at: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Success as a share of the episodes."""
        return self.success / self.episodes if self.episodes else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the share."""
        return wilson(self.success, self.episodes) if self.episodes else (0.0, 1.0)


def suite(
    episodes: int = 100, skill_episodes: int = 200, camera_episodes: int = 100
) -> list[Experiment]:
    """All experiments, in the order of the report.

    Args:
        episodes: of each scenario and condition.
        skill_episodes: of each skill.
        camera_episodes: of each scenario with the camera in the loop; 0 for none.
    """
    found = [
        Experiment("skills", "roman", "perception's errors", skill=skill, episodes=skill_episodes)
        for skill in SKILLS
    ]
    of = _each(episodes)
    found += of("scenarios", ("roman",), "perception's errors", ALL_SCENARIOS)
    for sigma in NOISE:
        errors = ErrorModel(PERCEPTION_ERRORS.position_bias, sigma)
        text = f"{sigma * 1000:g} mm"
        found += of("noise", ("roman",), text, (1, 4, 7), errors=errors)
    for sigma in PROPRIOCEPTION:
        errors = replace(PERCEPTION_ERRORS, tip_noise=sigma, width_noise=sigma / 5)
        text = f"{sigma * 1000:g} mm"
        found += of("proprioception", ("roman",), text, (1, 4, 7), errors=errors)
    for kind in KINDS:
        name = kind.replace("_", " ")
        found += of("disturbances", ("roman",), name, (4, 7), disturbances=(kind,))
    found += of("disturbances", ("roman",), "one of them", (4, 7), disturbances=KINDS)
    if camera_episodes:
        camera = _each(camera_episodes)
        found += camera("camera", ("roman",), "camera in the loop", (1, 4, 7), camera=True)
    for method in METHODS:
        found += of("baselines", (method,), "perception's errors", ALL_SCENARIOS)
    cloned = [method for method in METHODS if method not in FROM_SCRATCH]
    for method in cloned:
        found += of("baselines disturbed", (method,), "disturbed", (4, 7), disturbances=KINDS)
    for method in cloned:
        found += of("baselines noise", (method,), "20 mm", (4, 7), errors=HARD)
    return found


def _each(episodes: int) -> Callable[..., list[Experiment]]:
    def make(
        section: str,
        methods: Sequence[str],
        condition: str,
        scenarios: Sequence[int],
        errors: ErrorModel = PERCEPTION_ERRORS,
        disturbances: tuple[str, ...] = (),
        camera: bool = False,
    ) -> list[Experiment]:
        return [
            Experiment(
                section,
                method,
                condition,
                scenario=scenario,
                errors=errors,
                disturbances=disturbances,
                camera=camera,
                episodes=episodes,
            )
            for method in methods
            for scenario in scenarios
        ]

    return make


def controller_of(method: str, policies: Path, baselines: Path, skill: str | None) -> Controller:
    """The policies of a method.

    Args:
        method: key of `METHODS`.
        policies: ROMAN's folder.
        baselines: folder of the rivals' folders.
        skill: its expert alone, if given.

    Raises:
        PolicyLoadError: a model is missing or unusable.
        SuiteError: unknown method.
    """
    if method not in METHODS:
        raise SuiteError(f"unknown method {method!r}: expected one of {', '.join(METHODS)}")
    if skill is not None:
        return expert(policies if method == "roman" else baselines / method, skill)
    if method == "roman":
        return mixture(policies)
    if method == "oracle":
        return oracle(policies)
    if method == "monolithic":
        return monolithic(baselines / method)
    if method == "hard_gate":
        return mixture(policies, top_k=1)
    if method == "sparse_gate":
        return mixture(policies, gate_directory=baselines / method)
    return mixture(baselines / method)


def run_experiment(
    experiment: Experiment, policies: Path, baselines: Path, num_threads: int = 0
) -> Result:
    """Run all episodes of an experiment.

    Raises:
        PolicyLoadError: a model is missing or unusable.
    """
    controller = controller_of(experiment.method, policies, baselines, experiment.skill)
    seeds = range(experiment.seed, experiment.seed + experiment.episodes)
    options: dict = {
        "scenario": experiment.scenario,
        "skill": experiment.skill,
        "errors": experiment.errors,
        "num_threads": num_threads,
    }
    if experiment.disturbances:
        options |= {"disturbed": 1.0, "disturbances": experiment.disturbances}
    if experiment.camera:
        options["observer"] = CameraObserver
    batch = 1 if experiment.camera else len(seeds)
    outcomes = [
        outcome
        for first in range(0, len(seeds), batch)
        for outcome in run_in_simulation(controller, seeds[first : first + batch], **options)
    ]
    if experiment.disturbances:
        outcomes = [outcome for outcome in outcomes if outcome.disturbance]
    stopped = Counter(stopped_at(outcome) for outcome in outcomes if not outcome.success)
    times = [outcome.time for outcome in outcomes if outcome.success]
    mean = round(sum(times) / len(times), 2) if times else None
    return Result(experiment, len(times), len(outcomes), mean, dict(stopped))
