"""Many simulations of the bench, stepped natively on all cores through the arm's actuators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import mujoco.batch
import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.policies.spaces import CONTROL_PERIOD, OBJECTS
from moe_robot_control.world.scene import (
    ALL_PARTS,
    OBJECT_PARTS,
    build_model,
    object_site,
)


@dataclass(frozen=True)
class State:
    """One simulation at rest: all positions, and where the furniture stands.

    Attributes: MuJoCo's arrays of one simulation.
    """

    qpos: np.ndarray
    body_pos: np.ndarray
    body_quat: np.ndarray


class BenchSimulation:
    """`num_sims` copies of the bench with an arm and some parts.

    All arrays lead with the simulation axis n and are in the arm's base frame [m], [rad], [s].
    """

    def __init__(
        self,
        num_sims: int = 1,
        parts: Sequence[str] = ALL_PARTS,
        arm: ArmConfig | None = None,
        num_threads: int = 0,
    ) -> None:
        """Build the model.

        Args:
            num_sims: number of simulations n.
            parts: the furniture and loose parts present, out of `ALL_PARTS`.
            arm: the arm (`panda` by default).
            num_threads: threads that step the simulations; 0 uses every core.
        """
        self.arm = ArmConfig.load() if arm is None else arm
        self.parts = tuple(parts)
        self.num_sims = num_sims
        self.model = build_model(self.parts, self.arm)
        threads = 1 if num_sims == 1 else num_threads
        self.batch = mujoco.batch.Batch(self.model, num_sims, threads)
        self.substeps = round(CONTROL_PERIOD / self.model.opt.timestep)
        self.body_pos = self.batch.expand("body_pos")
        self.body_quat = self.batch.expand("body_quat")
        self.qpos = self.batch.bind("qpos")
        self.qvel = self.batch.bind("qvel")
        self._ctrl = self.batch.bind("ctrl")
        self._time = self.batch.bind("time")
        self._site_xpos = self.batch.bind("site_xpos")
        self._xpos = self.batch.bind("xpos")
        self._xmat = self.batch.bind("xmat")
        model = self.model
        joints = [model.joint(f"arm/{name}") for name in self.arm.joint_names]
        self._arm_qpos = np.array([int(joint.qposadr[0]) for joint in joints])
        self._arm_qvel = np.array([int(joint.dofadr[0]) for joint in joints])
        self._arm_ctrl = np.array(
            [int(model.actuator(f"arm/{name}").id) for name in self.arm.joint_names]
        )
        fingers = [model.joint(f"arm/panda_finger_joint{i}") for i in (1, 2)]
        self._finger_qpos = np.array([int(joint.qposadr[0]) for joint in fingers])
        self._gripper_ctrl = int(model.actuator(f"arm/{self.arm.gripper_joint}").id)
        self._tip = int(model.site(f"arm/{self.arm.tip_site}").id)
        self.present = np.array([OBJECT_PARTS[name] in self.parts for name in OBJECTS])
        """Which of `OBJECTS` the scene holds. Shape (11,), bool."""
        self._object_sites = np.array(
            [
                int(model.site(object_site(name)).id) if here else self._tip
                for name, here in zip(OBJECTS, self.present, strict=True)
            ]
        )
        self.batch.forward()

    @property
    def time(self) -> np.ndarray:
        """Simulated time since the reset [s]. Shape (n,)."""
        return self._time

    @property
    def joint_positions(self) -> np.ndarray:
        """The arm's joints [rad]. Shape (n, 7)."""
        return self.qpos[:, self._arm_qpos]

    @property
    def joint_velocities(self) -> np.ndarray:
        """The arm's joints [rad/s]. Shape (n, 7)."""
        return self.qvel[:, self._arm_qvel]

    @property
    def gripper_width(self) -> np.ndarray:
        """Opening between the fingers [m]. Shape (n,)."""
        return self.qpos[:, self._finger_qpos].sum(axis=1)

    @property
    def end_effector(self) -> np.ndarray:
        """Point between the fingertips [m]. Shape (n, 3)."""
        return self._site_xpos[:, self._tip].copy()

    def object_positions(self) -> np.ndarray:
        """True positions of `OBJECTS` [m]; NaN for absent ones. Shape (n, 11, 3)."""
        positions = self._site_xpos[:, self._object_sites].copy()
        positions[:, ~self.present] = np.nan
        return positions

    def has(self, part: str) -> bool:
        """Whether the scene holds `part`."""
        return part in self.parts

    def joint(self, name: str) -> np.ndarray:
        """Position of a one-degree joint such as `cabinet/door`. Live view, shape (n,)."""
        return self.qpos[:, int(self.model.joint(name).qposadr[0])]

    def body_position(self, name: str) -> np.ndarray:
        """Origin of a body [m]. Shape (n, 3)."""
        return self._xpos[:, int(self.model.body(name).id)]

    def body_up(self, name: str) -> np.ndarray:
        """The body's z axis in the base frame. Shape (n, 3)."""
        return self._xmat[:, int(self.model.body(name).id)].reshape(-1, 3, 3)[:, :, 2]

    def body_yaw(self, name: str) -> np.ndarray:
        """Rotation of a body's x axis about the base frame's z [rad]. Shape (n,)."""
        matrix = self._xmat[:, int(self.model.body(name).id)].reshape(-1, 3, 3)
        return np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])

    def place(self, part: str, ids: np.ndarray, pose: np.ndarray) -> None:
        """Stand furniture `part` at x, y [m], yaw [rad]; `pose` has shape (len(ids), 3)."""
        body = int(self.model.body(f"{part}/{part}").id)
        self.body_pos[ids, body, :2] = pose[:, :2]
        self.body_quat[ids, body] = 0.0
        self.body_quat[ids, body, 0] = np.cos(pose[:, 2] / 2)
        self.body_quat[ids, body, 3] = np.sin(pose[:, 2] / 2)

    def place_at(self, part: str, ids: np.ndarray, position: np.ndarray) -> None:
        """Move furniture `part` to x, y [m], shape (len(ids), 2), turned as it is."""
        self.body_pos[ids, int(self.model.body(f"{part}/{part}").id), :2] = position

    def shift_loose(self, part: str, ids: np.ndarray, shift: np.ndarray) -> None:
        """Move a loose part by x, y [m], shape (len(ids), 2), as it stands."""
        address = int(self.model.joint(f"{part}/{part}").qposadr[0])
        self.qpos[ids, address : address + 2] += shift

    def place_loose(
        self, part: str, ids: np.ndarray, pose: np.ndarray, pitch: np.ndarray | float = 0.0
    ) -> None:
        """Put a loose part at x, y, z [m], yaw [rad], at rest; `pose` is (len(ids), 4).

        `pitch` [rad] tilts it about its own y axis first.
        """
        joint = self.model.joint(f"{part}/{part}")
        address, dof = int(joint.qposadr[0]), int(joint.dofadr[0])
        self.qpos[ids, address : address + 3] = pose[:, :3]
        cy, sy = np.cos(pose[:, 3] / 2), np.sin(pose[:, 3] / 2)
        cp, sp = np.cos(np.divide(pitch, 2)), np.sin(np.divide(pitch, 2))
        quaternion = np.stack([cy * cp, -sy * sp, cy * sp, sy * cp], axis=1)
        self.qpos[ids, address + 3 : address + 7] = quaternion
        self.qvel[ids, dof : dof + 6] = 0.0

    def place_arm(self, ids: np.ndarray, joint_positions: np.ndarray, width: np.ndarray) -> None:
        """Put the arm at rest at joint positions (len(ids), 7) with opening (len(ids),)."""
        ids = np.asarray(ids)
        self.qpos[ids[:, None], self._arm_qpos] = joint_positions
        self.qpos[ids[:, None], self._finger_qpos] = width[:, None] / 2
        self._ctrl[ids] = 0.0
        self._ctrl[ids, self._gripper_ctrl] = width

    def save(self, index: int) -> State:
        """A copy of one simulation's positions."""
        return State(
            self.qpos[index].copy(),
            self.body_pos[index].copy(),
            self.body_quat[index].copy(),
        )

    def restore(self, index: int, state: State) -> None:
        """Put one simulation at rest into the state of one with the same parts."""
        self.qpos[index], self.qvel[index] = state.qpos, 0.0
        self.body_pos[index], self.body_quat[index] = state.body_pos, state.body_quat

    def settle(self, ids: np.ndarray, steps: int) -> None:
        """Let simulations `ids` come to rest for `steps` physics steps; time starts at zero."""
        self.batch.step(ids, nstep=steps, stage=mujoco.mjtStage.mjSTAGE_POS.value)
        self._time[ids] = 0.0

    def clear(self, ids: np.ndarray) -> None:
        """Back to the model's initial state, time zero."""
        self.batch.reset(ids)

    def forward(self, ids: np.ndarray | None = None) -> None:
        """Bring positions in line with a state written from outside."""
        self.batch.forward(ids)

    def tick(
        self,
        joint_velocities: np.ndarray,
        gripper_width: np.ndarray,
        ids: np.ndarray | None = None,
    ) -> None:
        """Advance by `CONTROL_PERIOD`.

        Args:
            joint_velocities: command [rad/s]. Shape (n, 7).
            gripper_width: commanded opening [m]. Shape (n,).
            ids: simulations that advance; all by default. Shape (k,).
        """
        self._ctrl[:, self._arm_ctrl] = joint_velocities
        self._ctrl[:, self._gripper_ctrl] = gripper_width
        self.batch.step(ids, nstep=self.substeps, stage=mujoco.mjtStage.mjSTAGE_POS.value)

    def data(self, index: int = 0) -> mujoco.MjData:
        """One simulation as MjData, for rendering."""
        return self.batch.get_data(index)

    def model_of(self, index: int = 0) -> mujoco.MjModel:
        """One simulation's model with its furniture in place, for rendering."""
        return self.batch.get_model(index)
