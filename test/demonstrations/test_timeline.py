"""Which messages belong to an episode, in whatever order topics are delivered."""

from __future__ import annotations

from moe_robot_control.demonstrations.timeline import Timeline

SECOND = 10**9
BEGIN = 10 * SECOND


def test_leftovers_of_the_last_episode_are_left_out() -> None:
    timeline = Timeline()
    timeline.begin(new_time=True)
    assert not timeline.advance(BEGIN)  # the first episode: no time was set back
    assert timeline.includes(BEGIN)
    timeline.advance(BEGIN + 8 * SECOND)
    timeline.begin(new_time=True)  # announced before its first joint state comes
    assert not timeline.includes(BEGIN + 8 * SECOND)
    assert not timeline.includes(0)
    assert not timeline.advance(BEGIN + 8 * SECOND + 1)
    assert not timeline.advance(BEGIN)
    assert timeline.includes(BEGIN) and timeline.includes(0)
    assert not timeline.includes(BEGIN + 8 * SECOND)


def test_joint_states_may_come_before_the_announcement() -> None:
    timeline = Timeline()
    timeline.advance(BEGIN + 8 * SECOND)
    timeline.begin(new_time=False)
    assert timeline.advance(BEGIN)
    timeline.begin(new_time=True)
    assert timeline.includes(BEGIN)
    assert not timeline.advance(BEGIN + SECOND)
    assert timeline.advance(BEGIN)


def test_an_episode_shorter_than_the_lead() -> None:
    timeline = Timeline()
    timeline.begin(new_time=True)
    timeline.advance(BEGIN + SECOND // 10)
    timeline.begin(new_time=True)
    assert not timeline.advance(BEGIN - SECOND // 20)
    assert timeline.includes(BEGIN)
    assert not timeline.advance(BEGIN)


def test_a_late_joint_state_is_no_new_time() -> None:
    timeline = Timeline()
    timeline.begin(new_time=False)
    timeline.advance(BEGIN)
    assert not timeline.advance(BEGIN - SECOND // 100)
    assert timeline.includes(BEGIN + SECOND // 3)
