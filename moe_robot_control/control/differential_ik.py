"""Differential inverse kinematics with a held orientation, vectorised over configurations.

Why damped least squares and not a quadratic programme such as mink's: `benchmarks/commander.py`
compares both on the same joints and wishes. mink (1.3.0, daqp) is good and fast, a quarter of a
millisecond a step, but

- the policies were trained with these equations, and its joint velocities differ from them by
  0.02 rad/s in the median (with the same tasks and gains) and by several rad/s near singularities;
- it has no limits of acceleration and jerk, and no proof that the arm can still come to rest
  within them before an obstacle, which takes `guard` most of its time;
- it solves for one arm at a time: in a batch, as in training, a step of this costs a hundredth of
  a millisecond.
"""

from __future__ import annotations

import numpy as np

from moe_robot_control.control.kinematics import Kinematics

DAMPING = 0.02
"""Damping of the least-squares inverse [1]; keeps joint velocities bounded near singularities."""
ORIENTATION_GAIN = 4.0
"""Rate at which orientation errors are corrected [1/s]."""
POSTURE_GAIN = 0.5
"""Pull towards the home posture in the null space [1/s]."""


def joint_velocities(
    kinematics: Kinematics,
    joint_positions: np.ndarray,
    linear: np.ndarray,
    orientation: np.ndarray,
    home: np.ndarray,
) -> np.ndarray:
    """Joint velocities that move the tip at `linear` while it keeps `orientation`.

    Damped least squares (Nakamura and Hanafusa 1986) with a posture task in the null space
    (Liegeois 1977).

    Args:
        kinematics: the arm.
        joint_positions: [rad]. Shape (n, joints).
        linear: wanted velocity of the tip, base frame [m/s]. Shape (n, 3).
        orientation: rotation matrix to hold, base frame. Shape (3, 3).
        home: preferred posture [rad]. Shape (joints,).

    Returns:
        [rad/s]. Shape (n, joints).
    """
    _, rotation, jacobian = kinematics.forward_and_jacobian(joint_positions)
    return resolve_rates(rotation, jacobian, joint_positions, linear, orientation, home)


def resolve_rates(
    rotation: np.ndarray,
    jacobian: np.ndarray,
    joint_positions: np.ndarray,
    linear: np.ndarray,
    orientation: np.ndarray,
    home: np.ndarray,
) -> np.ndarray:
    """`joint_velocities` where the tip's rotation (n, 3, 3) and Jacobian are known already."""
    # axis of R_target R^T, the rotation error to first order
    error = orientation @ np.swapaxes(rotation, -1, -2)
    wanted = np.empty((*linear.shape[:-1], 6))
    wanted[..., :3] = linear
    for row, (j, k) in enumerate(((2, 1), (0, 2), (1, 0)), start=3):
        wanted[..., row] = ORIENTATION_GAIN * 0.5 * (error[..., j, k] - error[..., k, j])
    transposed = np.swapaxes(jacobian, -1, -2)
    gram = jacobian @ transposed + DAMPING**2 * np.eye(6)
    posture = POSTURE_GAIN * (home - joint_positions)
    residual = wanted - (jacobian @ posture[..., None])[..., 0]
    return posture + (transposed @ np.linalg.solve(gram, residual[..., None]))[..., 0]


def solve_position(
    kinematics: Kinematics,
    tips: np.ndarray,
    orientation: np.ndarray,
    home: np.ndarray,
    iterations: int = 80,
) -> np.ndarray:
    """Joint positions [rad] that hold the tip upright at `tips`, searched from `home`.

    Shapes (n, 3) -> (n, joints).
    """
    step = 0.2
    q = np.tile(home, (len(tips), 1))
    for _ in range(iterations):
        position, _ = kinematics.forward(q)
        q = q + step * joint_velocities(
            kinematics, q, (tips - position) / (2 * step), orientation, home
        )
    return q
