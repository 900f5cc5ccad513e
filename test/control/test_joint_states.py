"""Joint states of an arm and its gripper, put together."""

from __future__ import annotations

from moe_robot_control.control.joint_states import JointState, JointStateMerger

MS = 1_000_000
ARM = JointState(1000 * MS, ("a", "b"), (0.1, 0.2), (1.0, 2.0))
GRIPPER = JointState(950 * MS, ("finger", "b"), (0.04, 9.0))


def test_nothing_comes_without_the_gripper() -> None:
    merger = JointStateMerger(0.2)
    assert merger.complete(ARM) is None
    merger.set_gripper(GRIPPER)
    assert merger.complete(ARM) is not None
    assert merger.complete(JointState(1151 * MS, *_rest())) is None
    assert merger.complete(JointState(749 * MS, *_rest())) is None


def test_the_arms_stamp_and_values_stay() -> None:
    merger = JointStateMerger(0.2)
    merger.set_gripper(GRIPPER)
    merged = merger.complete(ARM)
    assert merged == JointState(ARM.stamp, ("a", "b", "finger"), (0.1, 0.2, 0.04), (1.0, 2.0, 0.0))


def test_velocities_only_where_the_arm_tells_them() -> None:
    merger = JointStateMerger(0.2)
    merger.set_gripper(JointState(GRIPPER.stamp, ("finger",), (0.04,), (0.5,)))
    assert merger.complete(ARM).velocities == (1.0, 2.0, 0.5)
    assert merger.complete(JointState(ARM.stamp, ARM.names, ARM.positions)).velocities == ()


def _rest() -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]:
    return ARM.names, ARM.positions, ARM.velocities
