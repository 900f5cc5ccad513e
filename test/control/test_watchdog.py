"""Joint states that must not be trusted."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.watchdog import LONGEST_SETTLE, SETTLE, JointWatch, age_fault

ARM = ArmConfig.load("panda")
MS = 1_000_000
T = 10_000 * MS


def watched(*measurements: tuple[int, np.ndarray]) -> JointWatch:
    watch = JointWatch(ARM, deadline=0.1)
    for stamp, q in measurements:
        watch.measure(stamp, q)
    return watch


def offset(joint: int, value: float) -> np.ndarray:
    q = ARM.home.copy()
    q[joint] += value
    return q


def test_good_measurements_pass() -> None:
    watch = watched((T, ARM.home), (T + 10 * MS, offset(0, 0.02)))
    assert watch.fault(T + 20 * MS) == ""
    assert watch.age(T + 20 * MS) == pytest.approx(0.01)


def test_nothing_was_measured_yet() -> None:
    watch = watched()
    assert watch.fault(T) == "no joint states yet" and watch.age(T) is None


@pytest.mark.parametrize(
    ("late", "words"), [(101, "stale: 0.10 s old"), (-101, "in the future: by 0.10 s")]
)
def test_age(late: int, words: str) -> None:
    watch = watched((T, ARM.home))
    assert words in watch.fault(T + late * MS)
    assert watch.fault(T + (99 if late > 0 else -99) * MS) == ""


def test_a_message_that_cannot_be_used_stops_until_the_next() -> None:
    watch = watched((T, ARM.home))
    watch.reject("joint 'panda_joint3' is missing")
    assert watch.fault(T) == "joint states: joint 'panda_joint3' is missing"
    watch.measure(T + 10 * MS, ARM.home)
    assert watch.fault(T + 10 * MS) == ""


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_positions_that_are_not_finite(value: float) -> None:
    watch = watched((T, ARM.home), (T + 10 * MS, offset(2, value)))
    assert "'panda_joint3' is not finite" in watch.fault(T + 10 * MS)
    watch.measure(T + 20 * MS, ARM.home)
    assert watch.fault(T + 20 * MS) == ""


def test_a_jump_stops_the_arm_until_measurements_agree_for_a_while() -> None:
    watch = watched((T, ARM.home))
    jumped = offset(4, 0.3)
    stamps = range(T + 10 * MS, T + round(2 * SETTLE * 1e9), 10 * MS)
    stood = []
    for stamp in stamps:
        watch.measure(stamp, jumped)
        stood.append("'panda_joint5' jumped" in watch.fault(stamp))
    assert stood[0] and not stood[-1]
    assert sum(stood) * 0.01 == pytest.approx(SETTLE, abs=0.02)


@pytest.mark.parametrize(
    ("silence", "settles"), [(0.15, SETTLE), (0.8, 0.8), (60.0, LONGEST_SETTLE)]
)
def test_the_longer_a_driver_was_silent_the_longer_its_arm_waits(
    silence: float, settles: float
) -> None:
    back = T + round(silence * 1e9)
    watch = watched((T, ARM.home))
    stood = []
    for stamp in range(back, back + 2_000 * MS, 10 * MS):
        watch.measure(stamp, ARM.home)
        stood.append("just come back" in watch.fault(stamp))
    assert stood[0] and not stood[-1]
    assert sum(stood) * 0.01 == pytest.approx(settles, abs=0.02)


def test_a_jump_after_a_silence_does_not_shorten_the_wait() -> None:
    back = T + 1_000 * MS
    watch = watched((T, ARM.home), (back, ARM.home), (back + 10 * MS, offset(4, 0.3)))
    watch.measure(back + 400 * MS, offset(4, 0.3))
    assert watch.fault(back + 400 * MS)


def test_messages_that_were_lost_are_no_jump() -> None:
    watch = watched((T, ARM.home), (T + 80 * MS, offset(0, 0.15)))
    assert watch.fault(T + 80 * MS) == ""


def test_joints_swapped_by_their_driver_are_a_jump() -> None:
    q = ARM.home.copy()
    q[[1, 5]] = q[[5, 1]]
    assert "jumped" in watched((T, ARM.home), (T + 10 * MS, q)).fault(T + 10 * MS)


def test_out_of_limits() -> None:
    q = ARM.home.copy()
    q[3] = ARM.joint_upper[3] + 0.1
    assert "'panda_joint4' is 0.10 rad out of its limits" in watched((T, q)).fault(T)


def test_overtaken_measurements_are_not_a_clock_set_back() -> None:
    watch = watched((T, ARM.home))
    assert watch.is_late(T - 10 * MS) and not watch.is_late(T)
    assert not watch.is_late(T - 5000 * MS)


def test_words_for_age() -> None:
    assert (
        age_fault("gate weights", T, T - 400 * MS, 300 * MS) == "gate weights are stale: 0.40 s old"
    )
    assert age_fault("command", T, T - 400 * MS, 300 * MS) == "command is stale: 0.40 s old"
