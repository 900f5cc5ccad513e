"""One operator at a time."""

from __future__ import annotations

import pytest

from moe_robot_control.console.lease import PATIENCE, SILENCE, Lease


class Clock:
    """Time that passes when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lost() -> list[object]:
    return []


@pytest.fixture
def lease(clock: Clock, lost: list[object]) -> Lease:
    return Lease(lost.append, clock=clock)


def test_the_first_gets_it_and_the_second_asks(lease: Lease) -> None:
    assert lease.operator is None
    assert lease.take("ana")
    assert lease.take("ana")
    assert not lease.take("ben")
    assert (lease.operator, lease.asking) == ("ana", "ben")
    assert not lease.take("cleo")
    assert lease.asking == "ben"


def test_the_operator_hands_over(lease: Lease, lost: list[object]) -> None:
    lease.take("ana")
    lease.take("ben")
    assert not lease.answer("ben", True)
    assert lease.answer("ana", True)
    assert (lease.operator, lease.asking) == ("ben", None)
    assert lost == ["ana"]


def test_the_operator_refuses(lease: Lease, clock: Clock, lost: list[object]) -> None:
    lease.take("ana")
    lease.take("ben")
    assert lease.answer("ana", False)
    assert not lease.answer("ana", True)
    for _ in range(20):
        clock.now += 1.0
        lease.hear("ana")
    assert (lease.operator, lost) == ("ana", [])


def test_no_answer_is_consent(lease: Lease, clock: Clock, lost: list[object]) -> None:
    lease.take("ana")
    lease.take("ben")
    passed = 0.0
    while passed < PATIENCE:
        assert lease.operator == "ana"
        clock.now += 1.0
        passed += 1.0
        lease.hear("ana")
    clock.now += 0.1
    assert (lease.operator, lost) == ("ben", ["ana"])


def test_silence_loses_control(lease: Lease, clock: Clock, lost: list[object]) -> None:
    lease.take("ana")
    clock.now += SILENCE
    assert lease.operator == "ana"
    clock.now += 0.1
    lease.hear("ana")  # too late
    assert (lease.operator, lost) == (None, ["ana"])


def test_the_one_who_asked_follows_a_silent_operator(lease: Lease, clock: Clock) -> None:
    lease.take("ana")
    lease.take("ben")
    clock.now += SILENCE + 0.1
    assert lease.operator == "ben"


def test_leaving(lease: Lease, lost: list[object]) -> None:
    lease.take("ana")
    lease.take("ben")
    lease.leave("cleo")
    lease.leave("ana")
    assert (lease.operator, lost) == ("ben", ["ana"])
    lease.take("cleo")
    lease.leave("cleo")
    assert lease.asking is None
    lease.leave("ben")
    assert lease.operator is None


def test_others_do_not_keep_the_operator_alive(lease: Lease, clock: Clock) -> None:
    lease.take("ana")
    clock.now += SILENCE + 0.1
    lease.hear("ben")
    assert lease.operator is None
