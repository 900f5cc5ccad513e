"""States of the bench in which one skill has just been done and another takes over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moe_robot_control.control.differential_ik import solve_position
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, SKILLS, check_skill
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.scene import ALL_PARTS, SKILL_PARTS
from moe_robot_control.world.simulation import BenchSimulation, State
from moe_robot_control.world.teachers import teach_stage

COUNT = 128
SEED = 3_000_000
"""Apart from the seeds of demonstrations and evaluations."""
SPREAD = np.array([[-0.012, -0.012, -0.02], [0.012, 0.012, 0.005]])
"""Not every hand lets go of a vial where the scripted one does: shift of an open hand [m]."""
OPEN = 0.045


class Handovers:
    """Where the scripted expert of the skill before leaves the bench, the hand and all else.

    A skill alone begins with the hand in the open; in a job it begins with the fingers about a
    vial that is to stay where it is, or behind a handle.

    Attributes:
        parts: of the scene: those of both skills.
    """

    def __init__(
        self, skill: str, count: int = COUNT, seed: int = SEED, num_threads: int = 0
    ) -> None:
        """Let the skill before be done `count` times.

        Args:
            skill: that takes over; the first one takes over from none and has no handovers.
            count: of episodes; those that fail are left out.
            seed: of the first.
            num_threads: that step them; 0 uses every core.

        Raises:
            UnknownSkillError: no such skill.
        """
        stage = SKILLS.index(check_skill(skill))
        self._states: list[State] = []
        self._kinematics: Kinematics | None = None
        before = SKILLS[max(stage - 1, 0)]
        both = {*SKILL_PARTS[skill], *SKILL_PARTS[before]}
        self.parts = tuple(part for part in ALL_PARTS if part in both)
        if stage == 0:
            return
        env = BenchVectorEnv(count, skill=before, parts=self.parts, num_threads=num_threads)
        arm = env.sim.arm
        self._kinematics = Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)
        _, info = env.reset(seed=seed)
        running = np.ones(count, dtype=bool)
        while running.any():
            action = teach_stage(np.minimum(info["stage"], stage - 1), info["scene"])
            _, _, terminated, truncated, info = env.step(np.clip(action, ACTION_LOW, ACTION_HIGH))
            for i in np.flatnonzero(running & info["success"]):
                self._states.append(env.sim.save(i))
            running &= ~(terminated | truncated)
            env.stop(~running)

    def __len__(self) -> int:
        return len(self._states)

    def place(
        self, sim: BenchSimulation, ids: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> None:
        """Put each of the simulations `ids`, of `parts`, into a state drawn by its rng."""
        for index, rng in zip(ids, rngs, strict=True):
            sim.restore(int(index), self._states[rng.integers(len(self._states))])
        sim.forward(ids)
        free = sim.gripper_width[ids] > OPEN
        if not free.any():
            return
        shift = np.stack([rng.uniform(*SPREAD) for rng in rngs])[free]
        ids, arm = ids[free], sim.arm
        q = solve_position(self._kinematics, sim.end_effector[ids] + shift, arm.rotation, arm.home)
        sim.place_arm(ids, q, sim.gripper_width[ids])
        sim.forward(ids)
