"""A policy is replaced while it acts, whole or not at all."""

from __future__ import annotations

import threading

import pytest

from moe_robot_control.policies.hot_swap import HotSwap


def test_the_old_one_acts_until_the_new_one_can() -> None:
    may_load, loads = threading.Event(), iter(range(10))
    may_load.set()

    def load() -> int:
        may_load.wait(10)
        return next(loads)

    swap = HotSwap(load)
    assert swap.current == 0
    may_load.clear()
    first, second = swap.reload(), swap.reload()
    assert swap.current == 0 and not first.done()
    may_load.set()
    assert (first.result(10), second.result(10)) == (1, 2)
    assert swap.current == 2
    swap.close()


def test_a_thousand_wishes_are_few_loads() -> None:
    may_load, loads = threading.Event(), []
    may_load.set()

    def load() -> int:
        may_load.wait(10)
        loads.append(len(loads))
        return loads[-1]

    swap = HotSwap(load)
    may_load.clear()
    asked = [swap.reload() for _ in range(1000)]
    may_load.set()
    assert asked[0].result(10) == 1
    # all others were asked for before the second began: it finds what they meant
    assert {later.result(10) for later in asked[1:]} == {2}
    assert swap.reload().result(10) == swap.current == 3
    swap.close()


def test_what_cannot_be_loaded_changes_nothing() -> None:
    files = ["good", None]

    def load() -> str:
        if (found := files.pop(0)) is None:
            raise ValueError("corrupt")
        return found

    swap = HotSwap(load)
    with pytest.raises(ValueError, match="corrupt"):
        swap.reload().result(10)
    assert swap.current == "good"
    swap.close()


def test_the_first_one_must_load() -> None:
    with pytest.raises(ZeroDivisionError):
        HotSwap(lambda: 1 / 0)
