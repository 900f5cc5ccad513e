"""Forward kinematics and Jacobian of a serial arm, vectorised over configurations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from moe_robot_control.errors import MoeRobotControlError


class KinematicsError(MoeRobotControlError):
    """The arm's MJCF cannot be read or does not hold the chain."""


@dataclass(frozen=True)
class Frames:
    """Where every link of some configurations is, in the base frame.

    Attributes:
        transforms: of the base (first) and of every link behind its joint.
            Shape (n, joints + 1, 4, 4).
        tip: the tip [m]. Shape (n, 3).
    """

    transforms: np.ndarray
    tip: np.ndarray

    @property
    def origins(self) -> np.ndarray:
        """The links' origins [m]. Shape (n, joints + 1, 3)."""
        return self.transforms[..., :3, 3]

    @property
    def rotations(self) -> np.ndarray:
        """The links' rotation matrices. Shape (n, joints + 1, 3, 3)."""
        return self.transforms[..., :3, :3]

    @property
    def axes(self) -> np.ndarray:
        """The joints' axes. Shape (n, joints, 3)."""
        return self.rotations[:, 1:, :, 2]

    @functools.cached_property
    def jacobian(self) -> np.ndarray:
        """Geometric Jacobian of the tip: linear rows, then angular. Shape (n, 6, joints)."""
        axes = self.axes
        linear = cross(axes, self.tip[:, None] - self.origins[:, 1:])
        return np.swapaxes(np.concatenate([linear, axes], axis=-1), -1, -2)


class Kinematics:
    """The chain of hinge joints from the base to one site of an MJCF model."""

    def __init__(self, mjcf: str | Path, joint_names: Sequence[str], site: str) -> None:
        """Read the chain.

        Args:
            mjcf: the arm's MJCF file.
            joint_names: hinge joints, base to tip; they must be all joints of the chain.
            site: the tip.

        Raises:
            KinematicsError: the file is unreadable, or a joint or the site is missing.
        """
        model = read_model(Path(mjcf))
        names = [model.joint(i).name for i in range(model.njnt)]
        missing = [name for name in joint_names if name not in names]
        if missing:
            raise KinematicsError(f"{mjcf}: no joint named {missing[0]!r}")
        if site not in [model.site(i).name for i in range(model.nsite)]:
            raise KinematicsError(f"{mjcf}: no site named {site!r}")
        wanted = {names.index(name): k for k, name in enumerate(joint_names)}
        tip = model.site(site)
        chain: list[tuple[np.ndarray, np.ndarray, int | None]] = []
        chain.append((tip.pos.copy(), _rotation(tip.quat), None))
        body = int(tip.bodyid[0])
        while body != 0:
            joint = int(model.body_jntadr[body]) if model.body_jntnum[body] else None
            index = wanted.get(joint) if joint is not None else None
            if joint is not None and (index is None or model.jnt_axis[joint] @ [0, 0, 1] < 1):
                raise KinematicsError(f"{mjcf}: joint {names[joint]!r} is not a z hinge of the arm")
            chain.append((model.body_pos[body].copy(), _rotation(model.body_quat[body]), index))
            body = int(model.body_parentid[body])
        self.num_joints = len(joint_names)
        self._chain = chain[::-1]
        self._segments, self._tip, self.tip_rotation = self._join_segments()
        if [index for *_, index in self._chain if index is not None] != list(range(len(names)))[
            : self.num_joints
        ]:
            raise KinematicsError(f"{mjcf}: the joints are not in the chain's order")

    def forward(self, joint_positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pose of the tip in the base frame.

        Args:
            joint_positions: [rad]. Shape (..., n).

        Returns:
            Position [m], shape (..., 3), and rotation matrix, shape (..., 3, 3).
        """
        position, rotation, _, _ = self._walk(joint_positions)
        return position, rotation

    def jacobian(self, joint_positions: np.ndarray) -> np.ndarray:
        """Geometric Jacobian of the tip: linear rows, then angular. Shape (..., 6, n)."""
        return self.forward_and_jacobian(joint_positions)[2]

    def forward_and_jacobian(
        self, joint_positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`forward` and `jacobian` for the price of one walk along the chain."""
        position, rotation, origins, axes = self._walk(joint_positions)
        arms = position[..., None, :] - origins
        linear = np.stack(
            [
                axes[..., 1] * arms[..., 2] - axes[..., 2] * arms[..., 1],
                axes[..., 2] * arms[..., 0] - axes[..., 0] * arms[..., 2],
                axes[..., 0] * arms[..., 1] - axes[..., 1] * arms[..., 0],
            ],
            axis=-2,
        )
        return position, rotation, np.concatenate([linear, np.swapaxes(axes, -1, -2)], axis=-2)

    def frames(self, joint_positions: np.ndarray) -> Frames:
        """Frames of all links, quicker than `forward`: (n, joints) [rad]."""
        count = self.num_joints
        turns = np.zeros((len(joint_positions), count, 4, 4))
        turns[..., 2, 2] = turns[..., 3, 3] = 1.0
        turns[..., 0, 0] = turns[..., 1, 1] = np.cos(joint_positions)
        turns[..., 1, 0] = np.sin(joint_positions)
        turns[..., 0, 1] = -turns[..., 1, 0]
        steps = self._segments @ turns
        frames = np.empty((len(joint_positions), count + 1, 4, 4))
        frames[:, 0] = np.eye(4)
        for joint in range(count):
            np.matmul(frames[:, joint], steps[:, joint], out=frames[:, joint + 1])
        return Frames(frames, frames[:, -1, :3, 3] + frames[:, -1, :3, :3] @ self._tip)

    def extent(self) -> tuple[np.ndarray, float]:
        """How far each link's origin is from the base along the chain, the base first, and the
        tip from the last of them [m]. Shape (joints + 1,)."""
        lengths = np.linalg.norm(self._segments[:, :3, 3], axis=-1)
        return np.concatenate([[0.0], np.cumsum(lengths)]), float(np.linalg.norm(self._tip))

    def _join_segments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Transforms from each joint to the next, (joints, 4, 4), and the tip's, (3,) and (3, 3).

        The last is from the last link.
        """
        segments, segment = [], np.eye(4)
        for offset, turn, joint in self._chain:
            step = np.eye(4)
            step[:3, :3], step[:3, 3] = turn, offset
            segment = segment @ step
            if joint is not None:
                segments.append(segment)
                segment = np.eye(4)
        return np.array(segments), segment[:3, 3], segment[:3, :3]

    def _walk(
        self, joint_positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        q = np.asarray(joint_positions, dtype=np.float64)
        cos, sin = np.cos(q), np.sin(q)
        batch = q.shape[:-1]
        origins = np.empty((*batch, self.num_joints, 3))
        axes = np.empty((*batch, self.num_joints, 3))
        position = np.zeros((*batch, 3))
        rotation = np.broadcast_to(np.eye(3), (*batch, 3, 3))
        for offset, turn, joint in self._chain:
            position = position + rotation @ offset
            rotation = rotation @ turn
            if joint is not None:
                origins[..., joint, :] = position
                axes[..., joint, :] = rotation[..., :, 2]
                c, s = cos[..., joint, None], sin[..., joint, None]
                x, y = rotation[..., :, 0], rotation[..., :, 1]
                turned = np.empty((*batch, 3, 3))
                turned[..., 0], turned[..., 1] = c * x + s * y, c * y - s * x
                turned[..., 2] = rotation[..., :, 2]
                rotation = turned
        return position, rotation, origins, axes


def cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cross products along the last axis; much quicker than NumPy's for small arrays."""
    a, b, c = first[..., 0], first[..., 1], first[..., 2]
    x, y, z = second[..., 0], second[..., 1], second[..., 2]
    product = np.empty(np.broadcast_shapes(first.shape, second.shape))
    product[..., 0], product[..., 1], product[..., 2] = b * z - c * y, c * x - a * z, a * y - b * x
    return product


@functools.lru_cache(maxsize=8)
def read_model(path: Path) -> mujoco.MjModel:
    """The arm's model.

    Raises:
        KinematicsError: there is no such file, or MuJoCo refuses it.
    """
    if not path.is_file():
        raise KinematicsError(f"{path}: no such file")
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise KinematicsError(f"{path}: {str(error).splitlines()[0]}") from error


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quaternion, dtype=np.float64))
    return matrix.reshape(3, 3)
