"""Gymnasium environments of the seven skills and of the bench, single and vectorised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from moe_robot_control.control.commander import Commander
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    ACTION_SIZE,
    CONTROL_PERIOD,
    DECISION_PERIOD,
    GATE_OBSERVATION_SIZE,
    MAX_GRIPPER_WIDTH,
    SKILLS,
    Scene,
    check_skill,
    expert_observation,
    expert_observation_size,
    gate_observation,
)
from moe_robot_control.world.disturbances import KINDS, Disturbances
from moe_robot_control.world.observers import ErrorModel, Observer, StateObserver
from moe_robot_control.world.rewards import SUCCESS_REWARD, potential
from moe_robot_control.world.scene import ALL_PARTS, SKILL_PARTS
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import (
    SUCCESS,
    TIP_START,
    BenchTask,
    TaskError,
    Thresholds,
    check_scenario,
)

TICKS = round(DECISION_PERIOD / CONTROL_PERIOD)
STEPS_PER_SKILL = 160
"""Length of an episode [decisions of 0.05 s] for each skill that is to be done."""


class Starts(Protocol):
    """States in which episodes may begin, such as `world.handovers.Handovers`."""

    def __len__(self) -> int:
        """How many there are."""

    def place(
        self, sim: BenchSimulation, ids: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> None:
        """Put each of the simulations `ids` into a state drawn by its rng."""


ObserverFactory = Callable[[BenchSimulation], Observer]


class BenchVectorEnv(VectorEnv):
    """`num_envs` benches, stepped together on all cores.

    Action: end-effector velocity (x, y, z) in the arm's base frame [m/s] and gripper opening
    [m], held for `DECISION_PERIOD`; the arm is driven by `control.Commander`. Observation: that
    of the skill's expert, or of the manipulation network for a scenario. `info` holds `scene`
    (`Scene`), `stage` and `success`. A finished episode is reset by the next step
    (`AutoresetMode.NEXT_STEP`); its seed continues the environment's own sequence.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "autoreset_mode": AutoresetMode.NEXT_STEP,
        "render_modes": [],
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: int | Sequence[int] | None = None,
        skill: str | None = None,
        reward: str = "dense",
        errors: ErrorModel | None = None,
        max_steps: int | None = None,
        parts: Sequence[str] | None = None,
        tip_box: np.ndarray = TIP_START,
        observer: ObserverFactory | None = None,
        num_threads: int = 0,
        thresholds: Thresholds = SUCCESS,
        placement_range: float = 1.0,
        disturbed: float = 0.0,
        disturbances: Sequence[str] = KINDS,
        handovers: Starts | None = None,
        handed_over: float = 0.5,
    ) -> None:
        """Build the environments.

        Args:
            num_envs: number of simulations n.
            scenario: 1 to 7 for the whole bench, several of which each episode draws one, or
            skill: one of `SKILLS`, in a scene with that skill's parts only.
            reward: `dense` (progress made in the step, about 1 for each skill, and
                `SUCCESS_REWARD` at success) or `sparse` (1 at success).
            errors: error model of what is observed; none by default.
            max_steps: decisions until truncation; 160 for each skill to be done by
                default, and as many more for one that was undone.
            parts: of a skill's scene; those it needs by default (`SKILL_PARTS`), `ALL_PARTS` for
                the whole bench. A scenario shows the whole bench.
            tip_box: corners of the box in which the tip starts [m]. Shape (2, 3).
            observer: another source of scenes than true positions, such as the cameras.
            num_threads: threads that step; 0 uses every core.
            thresholds: say when a skill is done.
            placement_range: times the usual range in which furniture is placed.
            disturbed: share of the episodes in which something is disturbed.
            disturbances: kinds of it; see `world.disturbances`.
            handovers: states of the same parts from which some of a skill's episodes begin.
            handed_over: share of those episodes.

        Raises:
            TaskError, UnknownSkillError: no such scenario or skill.
            ValueError: unknown kind of reward.
        """
        if (scenario is None) == (skill is None):
            raise TaskError("give either a scenario or a skill")
        if reward not in ("dense", "sparse"):
            raise ValueError(f"reward must be 'dense' or 'sparse', not {reward!r}")
        several = scenario if isinstance(scenario, Sequence) else (scenario,)
        self.scenarios = () if scenario is None else tuple(map(check_scenario, several))
        self.skill = None if skill is None else check_skill(skill)
        self.reward = reward
        longest = STEPS_PER_SKILL * max(self.scenarios, default=1)
        self.max_steps = longest if max_steps is None else max_steps
        self._fixed_length = max_steps is not None
        own_parts = ALL_PARTS if skill is None else SKILL_PARTS[skill]
        parts = own_parts if skill is None or parts is None else parts
        self.sim = BenchSimulation(num_envs, parts, num_threads=num_threads)
        self.task = BenchTask(self.sim, thresholds, placement_range)
        self.disturbances = Disturbances(self.sim, self.task, disturbed, disturbances, own_parts)
        self._handovers = handovers
        self._handed_over = handed_over if handovers else 0.0
        self.commander = Commander(self.sim.arm, num_envs)
        self.observer = StateObserver(self.sim, errors) if observer is None else observer(self.sim)
        self._tip_box = np.asarray(tip_box, dtype=np.float64)
        size = GATE_OBSERVATION_SIZE if skill is None else expert_observation_size(skill)
        self.num_envs = num_envs
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.single_action_space = gym.spaces.Box(ACTION_LOW, ACTION_HIGH, dtype=np.float64)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seeds = np.random.default_rng()
        self._steps = np.zeros(num_envs, dtype=int)
        self._limits = np.zeros(num_envs, dtype=int)
        self._finished = np.zeros(num_envs, dtype=bool)
        self._stopped = np.zeros(num_envs, dtype=bool)
        self._potential = np.zeros(num_envs)
        self.scene: Scene | None = None

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all episodes anew.

        Args:
            seed: one number (simulation i gets `seed + i`) or one for each simulation.
            options: unused.
        """
        if seed is None:
            seeds = self._seeds.integers(2**31, size=self.num_envs)
        else:
            seeds = np.arange(self.num_envs) + seed if np.isscalar(seed) else np.asarray(seed)
            self._seeds = np.random.default_rng([int(value) for value in np.ravel(seeds)])
        self._stopped[:] = False
        self._begin(np.arange(self.num_envs), seeds)
        if self.reward == "dense":
            self._potential = potential(self.sim, self.task.stage, self.task.goal)
        return self._observe(), self._info()

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Hold `actions`, shape (n, 4), for one decision period."""
        actions = np.asarray(actions, dtype=np.float64)
        if actions.shape != (self.num_envs, ACTION_SIZE):
            raise ValueError(f"actions have shape {actions.shape}, not {(self.num_envs, 4)}")
        restarted = self._finished & ~self._stopped
        moving = np.flatnonzero(~self._stopped) if self._stopped.any() else None
        self._disturb()
        slipping = self.disturbances.slipping
        for _ in range(TICKS):
            velocities, width = self.commander.step(self.sim.joint_positions, actions)
            width = np.where(slipping, MAX_GRIPPER_WIDTH, width)
            self.sim.tick(velocities, width, moving)
        self.task.update()
        self._steps += 1
        if restarted.any():
            ids = np.flatnonzero(restarted)
            self._begin(ids, self._seeds.integers(2**31, size=len(ids)))
        success = self.task.success & ~restarted
        terminated = success | (self.task.failed & ~restarted)
        limits = self._limits + STEPS_PER_SKILL * self.task.undone
        truncated = (self._steps >= limits) & ~terminated & ~restarted
        rewards = success.astype(np.float64)
        if self.reward == "dense":
            reached = potential(self.sim, self.task.stage, self.task.goal)
            rewards = np.where(restarted, 0.0, reached - self._potential) + SUCCESS_REWARD * rewards
            self._potential = reached
        self._finished = terminated | truncated
        return self._observe(), rewards, terminated, truncated, self._info()

    def _disturb(self) -> None:
        before = self.disturbances.happened.copy()
        self.disturbances.update(~self._stopped & ~self._finished)
        new = self.disturbances.happened != before
        if self.reward == "dense" and new.any():
            # what others undo is not the policy's loss
            now = potential(self.sim, self.task.stage, self.task.goal)
            self._potential = np.where(new, now, self._potential)

    def stop(self, which: np.ndarray) -> None:
        """Let environments rest until all are reset; `which` has shape (n,), bool.

        They cost no time; what `step` says of them means nothing.
        """
        self._stopped |= which

    def _begin(self, ids: np.ndarray, seeds: np.ndarray) -> None:
        for scenario, some in self._drawn(seeds):
            self.task.reset(seeds[some], scenario, self.skill, ids[some], self._tip_box)
        self._hand_over(ids, seeds)
        skills = self.task.goal[ids] - self.task.stage[ids]
        own = STEPS_PER_SKILL * skills
        self._limits[ids] = self.max_steps if self._fixed_length else own
        self.disturbances.reset(ids, [np.random.default_rng([int(s), 41]) for s in seeds])
        self.commander.reset(ids, self.sim.gripper_width[ids] > 0.04)
        self.observer.reset(ids, [np.random.default_rng([int(seed), 99]) for seed in seeds])
        self._steps[ids] = 0
        self._finished[ids] = False

    def _hand_over(self, ids: np.ndarray, seeds: np.ndarray) -> None:
        if not self._handed_over:
            return
        rngs = [np.random.default_rng([int(seed), 23]) for seed in seeds]
        chosen = [i for i, rng in enumerate(rngs) if rng.random() < self._handed_over]
        if chosen:
            self._handovers.place(self.sim, ids[chosen], [rngs[i] for i in chosen])

    def _drawn(self, seeds: np.ndarray) -> list[tuple[int | None, np.ndarray]]:
        """The scenarios of new episodes, and which of them have each."""
        if len(self.scenarios) < 2:
            return [(self.scenarios[0] if self.scenarios else None, np.arange(len(seeds)))]
        count = len(self.scenarios)
        drawn = np.array([np.random.default_rng([int(s), 17]).integers(count) for s in seeds])
        return [(self.scenarios[i], np.flatnonzero(drawn == i)) for i in np.unique(drawn)]

    def _observe(self) -> np.ndarray:
        self.scene = self.observer.observe()
        if self.skill is None:
            return gate_observation(self.scene)
        return expert_observation(self.scene, self.skill)

    def _info(self) -> dict[str, Any]:
        return {
            "scene": self.scene,
            "stage": self.task.stage.copy(),
            "success": self.task.success.copy(),
            "disturbed": self.disturbances.happened.copy(),
        }


class BenchEnv(gym.Env):
    """One bench; see `BenchVectorEnv` for actions, observations and arguments."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, render_mode: str | None = None, camera: str = "left", **options: Any):
        self._vector = BenchVectorEnv(1, **options)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self.render_mode = render_mode
        self._camera = camera
        self._renderer: Any = None

    @property
    def scene(self) -> Scene:
        """What the policies know now, without a leading axis."""
        scene = self._vector.scene
        return Scene(
            scene.end_effector[0], scene.gripper_width[0], scene.positions[0], scene.known[0]
        )

    @property
    def vector(self) -> BenchVectorEnv:
        """The vectorised environment of size one behind this one."""
        return self._vector

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        observation, info = self._vector.reset(seed=[drawn])
        return observation[0], self._first(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold `action`, shape (4,), for one decision period."""
        observation, reward, terminated, truncated, info = self._vector.step(
            np.asarray(action)[None]
        )
        self._vector._finished[:] = False  # the caller resets
        first = self._first(info)
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), first

    def render(self) -> np.ndarray | None:
        """The camera's RGB image, (256, 256, 3) uint8, when `render_mode` is `rgb_array`."""
        if self.render_mode is None:
            return None
        if self._renderer is None:
            from moe_robot_control.world.cameras import CameraRenderer

            self._renderer = CameraRenderer(self._vector.sim)
        return self._renderer.render(self._camera)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _first(self, info: dict[str, Any]) -> dict[str, Any]:
        return {
            "stage": int(info["stage"][0]),
            "success": bool(info["success"][0]),
        }


def skill_id(skill: str) -> str:
    """Gymnasium id of a skill's environment, such as `moe_robot_control/PushButton-v0`."""
    return f"moe_robot_control/{check_skill(skill).title().replace('_', '')}-v0"


BENCH_ID = "moe_robot_control/Bench-v0"


def register() -> None:
    """Register the environments with gymnasium; doing it again changes nothing."""
    entries = {skill_id(skill): {"skill": skill} for skill in SKILLS}
    entries[BENCH_ID] = {"scenario": len(SKILLS)}
    for name, options in entries.items():
        if name not in gym.registry:
            gym.register(
                name,
                entry_point=f"{__name__}:BenchEnv",
                vector_entry_point=f"{__name__}:BenchVectorEnv",
                kwargs=options,
                disable_env_checker=True,
            )
