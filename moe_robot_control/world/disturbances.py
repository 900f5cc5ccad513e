"""What others do to a running job: move an object, push the drawer shut, knock the vial loose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.furniture import VIAL_WIDTH
from moe_robot_control.policies.spaces import OBJECTS, SKILLS
from moe_robot_control.world.scene import ALL_PARTS
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import CARRYING, BenchTask

KINDS = ("object_moved", "drawer_shut", "vial_dropped")
MOVABLE: dict[str, str] = {
    "tray": "pick_and_insert",
    "rack": "pick_and_drop",
    "button": "push_button",
    "bin": "pick_and_drop",
}
"""Furniture that may be moved, and the last skill that needs it."""
SHIFT = (0.02, 0.04)
"""How far an object is moved, smallest and largest [m]."""
CLEAR = 0.12
"""Nobody reaches in where the end effector is nearer than this, horizontally [m]."""
BESIDE = 0.05
"""A vial this near to the middle of a part stands in it or on it [m]."""
LATEST = 60
"""A disturbance comes up to this many decisions after its skill's turn has come."""
SLIP_HEIGHT = (0.003, 0.03)
"""A vial slips when it has been lifted by a height between these [m]: it may land upright."""
SLIP_STEPS = 8
"""Decisions for which the fingers are forced open."""
DRAWER = SKILLS.index("pull_drawer")
_CARRY_STAGES = np.array([SKILLS.index(skill) for skill in CARRYING])


class DisturbanceError(MoeRobotControlError):
    """A kind of disturbance that does not exist."""


class Disturbances:
    """At most one disturbance in each episode, at a random moment.

    Attributes:
        happened: index in `KINDS` of what has happened in this episode, or -1. Shape (n,).
        slipping: whether the fingers are being forced open. Shape (n,), bool.
    """

    def __init__(
        self,
        sim: BenchSimulation,
        task: BenchTask,
        probability: float = 1.0,
        kinds: Sequence[str] = KINDS,
        parts: Sequence[str] = ALL_PARTS,
    ) -> None:
        """Disturb `sim`, whose progress `task` follows.

        Args:
            sim, task: of the environment.
            probability: share of the episodes that are disturbed.
            kinds: out of `KINDS`.
            parts: that may be disturbed, where the scene holds them.

        Raises:
            DisturbanceError: unknown kind.
        """
        for kind in kinds:
            if kind not in KINDS:
                raise DisturbanceError(f"unknown kind {kind!r}: expected one of {', '.join(KINDS)}")
        self._sim, self._task = sim, task
        self._probability, self._kinds = probability, tuple(kinds)
        self._parts = {part for part in parts if sim.has(part)}
        n = sim.num_sims
        self.happened = np.full(n, -1)
        self._planned = np.full(n, -1)
        self._stage = np.zeros(n, dtype=int)
        self._delay = np.zeros(n, dtype=int)
        self._lift = np.zeros(n)
        self._shift = np.zeros((n, 2))
        self._choice = np.zeros(n)
        self._stood = np.zeros(n)
        self._slip = np.zeros(n, dtype=int)

    @property
    def slipping(self) -> np.ndarray:
        return self._slip > 0

    def reset(self, ids: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        """Plan what will happen in new episodes; call it after the task's own reset."""
        for sim, rng in zip(ids, rngs, strict=True):
            self.happened[sim] = self._planned[sim] = -1
            self._slip[sim] = 0
            start, goal = int(self._task.stage[sim]), int(self._task.goal[sim])
            stages = {kind: self._stages(kind, start, goal) for kind in self._kinds}
            possible = [kind for kind, found in stages.items() if found]
            if not possible or rng.random() >= self._probability:
                continue
            kind = possible[rng.integers(len(possible))]
            self._planned[sim] = KINDS.index(kind)
            self._stage[sim] = rng.choice(stages[kind])
            self._delay[sim] = rng.integers(LATEST + 1)
            self._lift[sim] = rng.uniform(*SLIP_HEIGHT)
            angle = rng.uniform(0.0, 2.0 * np.pi)
            self._shift[sim] = rng.uniform(*SHIFT) * np.array([np.cos(angle), np.sin(angle)])
            self._choice[sim] = rng.random()
            self._stood[sim] = np.nan

    def update(self, running: np.ndarray) -> None:
        """Do what is due where episodes run, shape (n,); once a decision, before the arm moves."""
        self._slip = np.maximum(self._slip - 1, 0)
        stage = self._task.stage
        due = running & (self._planned >= 0) & (self.happened < 0) & (stage == self._stage)
        self._delay -= due
        actions = (self._move_object, self._shut_drawer, self._drop_vial)
        for kind, act in enumerate(actions):
            for sim in np.flatnonzero(due & (self._planned == kind)):
                if act(sim):
                    self.happened[sim] = kind

    def _stages(self, kind: str, start: int, goal: int) -> list[int]:
        """The stages at which `kind` can happen in a job from `start` to `goal`."""
        stages = range(start, goal)
        if kind == "drawer_shut":
            return [stage for stage in stages if stage > DRAWER and "chest" in self._parts]
        if kind == "vial_dropped":
            return [stage for stage in stages if stage in _CARRY_STAGES and "vial" in self._parts]
        return [stage for stage in stages if self._movable(stage, goal)]

    def _movable(self, stage: int, goal: int) -> list[str]:
        return [
            part
            for part, last in MOVABLE.items()
            if part in self._parts and stage <= min(SKILLS.index(last), goal - 1)
        ]

    def _move_object(self, i: int) -> bool:
        sim, tip = self._sim, self._sim.end_effector[i]
        if self._delay[i] > 0:
            return False
        parts = [
            part
            for part in self._movable(int(self._task.stage[i]), int(self._task.goal[i]))
            if np.linalg.norm(sim.body_position(f"{part}/{part}")[i, :2] - tip[:2]) > CLEAR
        ]
        if not parts:
            return False
        part = parts[int(self._choice[i] * len(parts))]
        at = sim.body_position(f"{part}/{part}")[i, :2].copy()
        ids = np.array([i])
        if sim.has("vial"):
            vial = sim.body_position("vial/vial")[i]
            if np.linalg.norm(vial[:2] - at) < BESIDE:
                sim.shift_loose("vial", ids, self._shift[None, i])
        sim.place_at(part, ids, (at + self._shift[i])[None])
        sim.forward(ids)
        return True

    def _shut_drawer(self, i: int) -> bool:
        sim = self._sim
        handle = sim.object_positions()[i, OBJECTS.index("drawer_handle")]
        if self._delay[i] > 0 or np.linalg.norm((handle - sim.end_effector[i])[:2]) < CLEAR:
            return False
        sim.joint("chest/drawer")[i] = 0.0
        sim.forward(np.array([i]))
        self._task.undo(np.array([i]), "pull_drawer")
        return True

    def _drop_vial(self, i: int) -> bool:
        sim = self._sim
        height = float(sim.body_position("vial/vial")[i, 2])
        if np.isnan(self._stood[i]):
            self._stood[i] = height
        held = abs(float(sim.gripper_width[i]) - VIAL_WIDTH) < 0.004
        if not held or height < self._stood[i] + self._lift[i]:
            return False
        self._slip[i] = SLIP_STEPS
        return True
