"""The job on the bench: resets, success of each skill, and progress through the scenarios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moe_robot_control.control.differential_ik import solve_position
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import NUM_SCENARIOS, SKILLS, check_skill
from moe_robot_control.world.scene import FURNITURE, load_placements
from moe_robot_control.world.simulation import BenchSimulation


@dataclass(frozen=True)
class Thresholds:
    """How far a skill must have gone.

    Attributes:
        door: a door this far open is open [rad].
        lid: a lid this far beside its box is off [m].
        drawer: a drawer this far out is open [m].
        button: a plunger this far down is pressed [m].
        released: a gripper opened this wide holds nothing [m].
    """

    door: float
    lid: float
    drawer: float
    button: float
    released: float


SUCCESS = Thresholds(door=0.85, lid=0.06, drawer=0.06, button=0.017, released=0.045)
WITH_MARGIN = Thresholds(door=0.95, lid=0.075, drawer=0.075, button=0.019, released=0.05)
"""What a manipulation network is trained on: it sees with errors, and hurries to the border."""
DEMONSTRATED = Thresholds(door=1.05, lid=0.06, drawer=0.093, button=0.0215, released=0.055)
"""Demonstrations go further than success asks, so that a gate that is cloned from them, and sees
with errors, does not leave a skill before it is done."""
BOX_FLOOR = 0.006
VIAL_HALF_LENGTH = 0.04
CARRIED_HEIGHT = 0.11
"""Only a vial whose middle has been this high was carried, not dragged [m]."""
LYING = 0.3
"""A vial whose axis has turned so far from the vertical lies: the vertical's share of it."""
CARRYING = ("pick_and_place", "pick_and_insert", "pick_and_drop")
SETTLING_TIME = 0.25
"""Loose parts come to rest for this long before an episode begins [s]."""
TIP_START = np.array([[0.36, -0.20, 0.38], [0.54, 0.20, 0.46]])
"""Box from which the tip's start is drawn [m], lower and upper corner: high enough above the
bench that an aimless motion touches nothing."""


class TaskError(MoeRobotControlError):
    """A scenario that does not exist, or a scene that cannot show a skill."""


def check_scenario(scenario: int) -> int:
    """Return `scenario`, or raise `TaskError` naming the valid range."""
    if isinstance(scenario, bool) or not isinstance(scenario, int | np.integer):
        raise TaskError(f"scenario must be a whole number, not {scenario!r}")
    if not 1 <= scenario <= NUM_SCENARIOS:
        raise TaskError(f"scenario {scenario} does not exist: expected 1 to {NUM_SCENARIOS}")
    return int(scenario)


def first_stage(scenario: int | None = None, skill: str | None = None) -> int:
    """Index in `SKILLS` of the first skill to be done.

    Scenario k leaves the last k skills of `SKILLS`; a skill starts where it is next.
    """
    if (scenario is None) == (skill is None):
        raise TaskError("give either a scenario or a skill")
    if skill is not None:
        return SKILLS.index(check_skill(skill))
    return NUM_SCENARIOS - check_scenario(scenario)


def _horizontal(sim: BenchSimulation, part: str, other: str) -> np.ndarray:
    offset = sim.body_position(f"{part}/{part}") - sim.body_position(f"{other}/{other}")
    return np.linalg.norm(offset[:, :2], axis=1)


def _vial_stands(
    sim: BenchSimulation, part: str, radius: float, floor: float, released: float
) -> np.ndarray:
    bottom = sim.body_position("vial/vial")[:, 2] - VIAL_HALF_LENGTH
    upright = sim.body_up("vial/vial")[:, 2] > 0.95
    return (
        upright
        & (_horizontal(sim, "vial", part) < radius)
        & (np.abs(bottom - floor) < 0.006)
        & (sim.gripper_width > released)
    )


def _door_is_open(sim: BenchSimulation, limits: Thresholds) -> np.ndarray:
    return sim.joint("cabinet/door") > limits.door


def _lid_is_off(sim: BenchSimulation, limits: Thresholds) -> np.ndarray:
    return (_horizontal(sim, "lid", "box") > limits.lid) & (
        sim.body_position("lid/lid")[:, 2] < 0.07
    )


def _vial_on_tray(sim: BenchSimulation, limits: Thresholds) -> np.ndarray:
    return _vial_stands(sim, "tray", radius=0.035, floor=0.006, released=limits.released)


def _drawer_is_open(sim: BenchSimulation, limits: Thresholds) -> np.ndarray:
    return sim.joint("chest/drawer") > limits.drawer


def _vial_in_rack(sim: BenchSimulation, limits: Thresholds) -> np.ndarray:
    return _vial_stands(sim, "rack", radius=0.015, floor=0.008, released=limits.released)


def _button_is_pressed(sim: BenchSimulation, limits: Thresholds) -> np.ndarray:
    return sim.joint("button/button") > limits.button


def _vial_in_bin(sim: BenchSimulation, limits: Thresholds) -> np.ndarray:
    height = sim.body_position("vial/vial")[:, 2]
    inside = (_horizontal(sim, "vial", "bin") < 0.055) & (height < 0.06)
    return inside & (sim.gripper_width > limits.released)


PREDICATES: dict[str, Callable[[BenchSimulation, Thresholds], np.ndarray]] = {
    "rotate_door": _door_is_open,
    "unbox": _lid_is_off,
    "pick_and_place": _vial_on_tray,
    "pull_drawer": _drawer_is_open,
    "pick_and_insert": _vial_in_rack,
    "push_button": _button_is_pressed,
    "pick_and_drop": _vial_in_bin,
}
"""Whether each skill's result stands in each simulation. sim, thresholds -> (n,) bool."""
_CARRIES = np.array([skill in CARRYING for skill in SKILLS])


class BenchTask:
    """Resets simulations and follows their progress through the skills.

    Attributes:
        stage: index in `SKILLS` of the skill that is next. Shape (n,).
        reached: the furthest stage so far; `undo` lets `stage` fall behind it. Shape (n,).
        undone: how often something has been undone in this episode. Shape (n,).
        goal: stage at which the episode has succeeded. Shape (n,).
        out_of_order: a later skill's result came before its turn. Shape (n,), bool.
        carried: the vial has been lifted since the present skill began. Shape (n,), bool.
        knocked_over: the vial fell on its side while no skill handled it. Shape (n,), bool.
    """

    def __init__(
        self,
        sim: BenchSimulation,
        thresholds: Thresholds = SUCCESS,
        placement_range: float = 1.0,
    ) -> None:
        """Follow `sim`.

        Args:
            sim: the simulations.
            thresholds: say when a skill is done.
            placement_range: times the usual range in which furniture is placed.
        """
        self.sim = sim
        self._placement_range = placement_range
        self._thresholds = thresholds
        self.stage = np.zeros(sim.num_sims, dtype=int)
        self.reached = np.zeros(sim.num_sims, dtype=int)
        self.undone = np.zeros(sim.num_sims, dtype=int)
        self._done = np.zeros((sim.num_sims, NUM_SCENARIOS), dtype=bool)
        self.goal = np.full(sim.num_sims, NUM_SCENARIOS)
        self.out_of_order = np.zeros(sim.num_sims, dtype=bool)
        self.carried = np.zeros(sim.num_sims, dtype=bool)
        self.knocked_over = np.zeros(sim.num_sims, dtype=bool)
        self._kinematics = Kinematics(sim.arm.kinematics, sim.arm.joint_names, sim.arm.tip_site)
        self._placements = load_placements()

    @property
    def success(self) -> np.ndarray:
        """Whether everything asked for is done, in order. Shape (n,), bool."""
        return (self.stage >= self.goal) & ~self.failed

    @property
    def failed(self) -> np.ndarray:
        """Whether nothing can mend the episode any more. Shape (n,), bool."""
        return self.out_of_order | self.knocked_over

    def reset(
        self,
        seeds: Sequence[int],
        scenario: int | None = None,
        skill: str | None = None,
        ids: np.ndarray | None = None,
        tip_box: np.ndarray = TIP_START,
    ) -> None:
        """Start new episodes: furniture, loose parts and arm placed at random.

        Args:
            seeds: one seed for each simulation; equal seeds give equal states.
            scenario: 1 to 7, or
            skill: the one skill to do.
            ids: simulations to reset; all by default. Shape (k,).
            tip_box: corners of the box for the tip's start [m]. Shape (2, 3).

        Raises:
            TaskError: no such scenario, or the scene lacks parts.
        """
        stage = first_stage(scenario, skill)
        ids = np.arange(self.sim.num_sims) if ids is None else np.asarray(ids, dtype=int)
        if len(seeds) != len(ids):
            raise ValueError(f"{len(seeds)} seeds for {len(ids)} simulations")
        rngs = [np.random.default_rng([int(seed), stage]) for seed in seeds]
        sim = self.sim
        sim.clear(ids)
        self._place_furniture(ids, rngs)
        sim.forward(ids)
        self._place_loose(ids, rngs, stage)
        self._place_arm(ids, rngs, tip_box)
        steps = round(SETTLING_TIME / sim.model.opt.timestep)
        sim.settle(ids, steps)
        self._done[ids] = np.arange(NUM_SCENARIOS) < stage
        self.undone[ids] = 0
        self.stage[ids] = self.reached[ids] = stage
        self.goal[ids] = NUM_SCENARIOS if skill is None else stage + 1
        self.out_of_order[ids] = False
        self.carried[ids] = self.knocked_over[ids] = False

    def update(self) -> None:
        """Take note of what has been done since the last call."""
        holds = np.stack(
            [
                PREDICATES[skill](self.sim, self._thresholds)
                if self._can_show(skill)
                else self._never()
                for skill in SKILLS
            ],
            axis=1,
        )
        running = self.stage < self.goal
        if self.sim.has("vial"):
            self.carried |= self.sim.body_position("vial/vial")[:, 2] > CARRIED_HEIGHT
            lying = self.sim.body_up("vial/vial")[:, 2] < LYING
            self.knocked_over |= lying & running & ~np.append(_CARRIES, True)[self.stage]
        skills = np.arange(NUM_SCENARIOS)
        later = skills > self.reached[:, None]
        advance = holds & ~self._done & ~later & (self.carried[:, None] | ~_CARRIES)
        self._done |= advance & running[:, None]
        self.out_of_order |= (holds & later).any(axis=1) & running
        self._next()
        self.carried &= ~advance.any(axis=1)

    def undo(self, ids: np.ndarray, skill: str) -> None:
        """Somebody has undone `skill` in simulations `ids`: it is to be done again."""
        self._done[ids, SKILLS.index(check_skill(skill))] = False
        self.undone[ids] += 1
        self._next()

    def _next(self) -> None:
        self.stage = np.where(self._done.all(axis=1), NUM_SCENARIOS, self._done.argmin(axis=1))
        self.reached = np.maximum(self.reached, self.stage)

    def _never(self) -> np.ndarray:
        return np.zeros(self.sim.num_sims, dtype=bool)

    def _can_show(self, skill: str) -> bool:
        needs = {
            "rotate_door": ("cabinet",),
            "unbox": ("box", "lid"),
            "pick_and_place": ("tray", "vial"),
            "pull_drawer": ("chest",),
            "pick_and_insert": ("rack", "vial"),
            "push_button": ("button",),
            "pick_and_drop": ("bin", "vial"),
        }
        return all(self.sim.has(part) for part in needs[skill])

    def _place_furniture(self, ids: np.ndarray, rngs: list[np.random.Generator]) -> None:
        for part in FURNITURE:
            placement = self._placements[part]
            # drawn for absent parts too, so that one seed means one layout
            offset = np.stack([rng.uniform(-1.0, 1.0, 3) for rng in rngs])
            if self.sim.has(part):
                half_range = self._placement_range * placement.half_range
                self.sim.place(part, ids, placement.pose + offset * half_range)

    def _place_loose(self, ids: np.ndarray, rngs: list[np.random.Generator], stage: int) -> None:
        sim = self.sim
        draws = np.stack([rng.uniform(-1.0, 1.0, 8) for rng in rngs])
        if sim.has("cabinet") and stage > SKILLS.index("rotate_door"):
            sim.joint("cabinet/door")[ids] = 1.15 + 0.1 * draws[:, 0]
        if sim.has("chest") and stage > SKILLS.index("pull_drawer"):
            sim.joint("chest/drawer")[ids] = 0.103 + 0.011 * draws[:, 1]
        if sim.has("button") and stage > SKILLS.index("push_button"):
            sim.joint("button/button")[ids] = 0.0232 + 0.0006 * draws[:, 2]
        if sim.has("lid"):
            self._place_lid(ids, draws[:, 3:5], off=stage > SKILLS.index("unbox"))
        if sim.has("vial"):
            if stage <= SKILLS.index("pick_and_place"):
                part, spread, floor = "box", (0.006, 0.006), BOX_FLOOR
            elif stage <= SKILLS.index("pick_and_insert"):
                part, spread, floor = "tray", (0.015, 0.015), 0.006
            else:
                part, spread, floor = "rack", (0.001, 0.001), 0.006
            if sim.has(part):
                at = sim.body_position(f"{part}/{part}")[ids, :2] + spread * draws[:, 5:7]
                height = np.full((len(ids), 1), floor + VIAL_HALF_LENGTH + 0.0005)
                sim.place_loose("vial", ids, np.hstack([at, height, np.pi * draws[:, 7:8]]))

    def _place_lid(self, ids: np.ndarray, draws: np.ndarray, off: bool) -> None:
        sim = self.sim
        yaw = sim.body_yaw("box/box")[ids]
        # off the box it leans with its back edge against the wall
        reach = 0.085 + 0.005 * draws[:, 0] if off else 0.001 * draws[:, 0]
        height = 0.062 if off else 0.0935
        pose = np.column_stack([sim.body_position("box/box")[ids], yaw])
        pose[:, 0] += reach * np.cos(yaw)
        pose[:, 1] += reach * np.sin(yaw)
        pose[:, 2] = height
        sim.place_loose("lid", ids, pose, pitch=1.05 if off else 0.0)

    def _place_arm(
        self, ids: np.ndarray, rngs: list[np.random.Generator], tip_box: np.ndarray
    ) -> None:
        low, high = np.asarray(tip_box, dtype=np.float64)
        tips = np.stack([rng.uniform(low, high) for rng in rngs])
        is_open = np.array([rng.random() < 0.5 for rng in rngs])
        width = np.where(is_open, self.sim.arm.max_gripper_width, 0.0)
        arm = self.sim.arm
        q = solve_position(self._kinematics, tips, arm.rotation, arm.home)
        self.sim.place_arm(ids, q, width)
