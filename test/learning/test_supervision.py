"""The operator resets and judges episodes."""

from __future__ import annotations

import pytest

from moe_robot_control.learning.supervision import ENDS, RESETS, OperatedEpisode
from moe_robot_control.policies.spaces import SKILLS


def test_every_skill_says_what_to_do() -> None:
    assert set(RESETS) == set(SKILLS)
    for skill in SKILLS:
        episode = OperatedEpisode(skill, 1.0)
        assert episode.prompt == ""
        episode.ask()
        assert episode.prompt == f"{RESETS[skill]}, then call ~/reset_done"


@pytest.mark.parametrize("end", ENDS)
def test_a_mark_ends_an_episode_once(end: str) -> None:
    episode = OperatedEpisode("unbox", 5.0)
    assert not episode.reset_done(0.0) and not episode.mark(end)
    episode.ask()
    assert not episode.mark(end)  # not begun
    episode.tick(1e6)  # the operator takes the time that it takes
    assert episode.state == "waiting"
    assert episode.reset_done(1e6) and episode.state == "running"
    assert not episode.reset_done(1e6)
    assert "mark/success" in episode.prompt
    episode.tick(1e6 + 4.9)
    assert episode.mark(end) and episode.state == end
    episode.tick(1e6 + 100.0)
    assert not episode.mark("succeeded") and episode.state == end


def test_what_nobody_marks_in_time_has_failed() -> None:
    episode = OperatedEpisode("unbox", 5.0)
    episode.ask()
    episode.reset_done(10.0)
    episode.tick(15.0)
    assert episode.state == "failed"
    episode.ask()
    assert episode.reset_done(20.0)
    episode.tick(24.9)
    assert episode.state == "running"


def test_waiting_can_be_given_up() -> None:
    episode = OperatedEpisode("unbox", 5.0)
    episode.ask()
    episode.give_up()
    assert (episode.state, episode.prompt) == ("idle", "")
    assert not episode.reset_done(0.0)


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match="time limit 0"):
        OperatedEpisode("unbox", 0.0)
    with pytest.raises(ValueError, match="'lost'"):
        OperatedEpisode("unbox", 1.0).mark("lost")
