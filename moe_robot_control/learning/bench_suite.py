"""The bench's skills as a suite of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from moe_robot_control.learning.networks import skill_features
from moe_robot_control.learning.record_demonstrations import WIDE_TIP_BOX
from moe_robot_control.learning.task_suites import Step
from moe_robot_control.policies.spaces import (
    ACTION_SIZE,
    SHARED_OBSERVATION_SIZE,
    SKILLS,
    command_of,
    shared_observation,
    unit_action,
)
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.handovers import Handovers
from moe_robot_control.world.observers import PERCEPTION_ERRORS
from moe_robot_control.world.teachers import teach_stage


@cache
def _handovers(skill: str) -> Handovers:
    return Handovers(skill)


class BenchSuite:
    """Skills of the bench, each in its own scene, seen with perception's errors."""

    num_inputs = SHARED_OBSERVATION_SIZE
    num_actions = ACTION_SIZE

    def __init__(
        self,
        num_envs: int,
        skills: Sequence[str] = SKILLS,
        num_threads: int = 0,
        handed_over: float = 0.0,
        placement_range: float = 1.0,
    ) -> None:
        """Build the environments.

        Args:
            num_envs: of each skill.
            skills: out of `SKILLS`.
            num_threads: that step them; 0 uses every core.
            handed_over: share of the episodes that begin where the skill before ended.
            placement_range: times the usual range in which furniture is placed.

        Raises:
            UnknownSkillError: no such skill.
        """
        self.names, self.num_envs = tuple(skills), num_envs
        self.features = skill_features
        self._envs = []
        for skill in skills:
            handovers = _handovers(skill) if handed_over else None
            self._envs.append(
                BenchVectorEnv(
                    num_envs,
                    skill=skill,
                    parts=None if handovers is None else handovers.parts,
                    handovers=handovers,
                    handed_over=handed_over,
                    errors=PERCEPTION_ERRORS,
                    tip_box=WIDE_TIP_BOX,
                    num_threads=num_threads,
                    placement_range=placement_range,
                )
            )
        self._ended = np.zeros((len(self.names), num_envs), dtype=bool)

    def reset(self, seed: int) -> np.ndarray:
        """Begin all episodes. Shape (M, n, 12)."""
        self._ended[:] = False
        for env in self._envs:
            env.reset(seed=seed)
        return self._states()

    def step(self, actions: np.ndarray) -> Step:
        """Do `actions`, shape (M, n, 4), for one decision."""
        valid = ~self._ended
        commands = command_of(actions)
        steps = [env.step(own) for env, own in zip(self._envs, commands, strict=True)]
        rewards, terminated, truncated = (np.stack([step[i] for step in steps]) for i in (1, 2, 3))
        success = np.stack([step[4]["success"] for step in steps]) & terminated
        self._ended = terminated | truncated
        return Step(self._states(), rewards, terminated, self._ended.copy(), valid, success)

    def rest(self, which: np.ndarray) -> None:
        """See `TaskSuite`."""
        for env, own in zip(self._envs, which, strict=True):
            env.stop(own)

    def teach(self) -> np.ndarray:
        """What the scripted teachers would do now, in [-1, 1]. Shape (M, n, 4)."""
        commands = [
            teach_stage(np.full(self.num_envs, SKILLS.index(skill)), env.scene)
            for env, skill in zip(self._envs, self.names, strict=True)
        ]
        return unit_action(np.stack(commands)).astype(np.float32)

    def _states(self) -> np.ndarray:
        pairs = zip(self._envs, self.names, strict=True)
        states = [shared_observation(env.scene, skill) for env, skill in pairs]
        return np.stack(states).astype(np.float32)
