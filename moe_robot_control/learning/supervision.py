"""Episodes on an arm that nobody but an operator can reset and judge."""

from __future__ import annotations

RESETS: dict[str, str] = {
    "rotate_door": "close the cabinet's door",
    "unbox": "put the lid on the box",
    "pick_and_place": "place the vial upright beside its tray",
    "pull_drawer": "push the drawer shut",
    "pick_and_insert": "place the vial upright beside the rack",
    "push_button": "let the button come up",
    "pick_and_drop": "place the vial upright beside the bin",
}
"""What the operator does before an episode of each skill."""

WAITING, RUNNING = "waiting", "running"
ENDS = ("succeeded", "failed", "aborted")
IDLE = "idle"


class OperatedEpisode:
    """One episode after the other: the operator resets, says when it is done, and marks the end.

    What nobody marks within the time limit is a failure. An aborted episode is neither: it says
    nothing about its last action. Times are seconds of any steady clock.

    Attributes:
        state: idle, waiting (for the reset), running, or how the episode ended.
    """

    def __init__(self, skill: str, time_limit: float) -> None:
        """Begin idle.

        Args:
            skill: out of `SKILLS`.
            time_limit: of an episode [s].

        Raises:
            ValueError: a time limit that is not above zero.
        """
        if not time_limit > 0.0:
            raise ValueError(f"time limit {time_limit}: expected more than 0 s")
        self._skill, self._limit = skill, time_limit
        self.state = IDLE
        self._end = 0.0

    @property
    def prompt(self) -> str:
        """What the operator is asked for; empty while nothing is."""
        if self.state == WAITING:
            return f"{RESETS[self._skill]}, then call ~/reset_done"
        if self.state == RUNNING:
            return "call ~/mark/success, ~/mark/failure or ~/abort"
        return ""

    def ask(self) -> None:
        """Ask for the reset."""
        self.state = WAITING

    def reset_done(self, now: float) -> bool:
        """The scene is reset: begin. Returns whether that was waited for."""
        if self.state != WAITING:
            return False
        self.state, self._end = RUNNING, now + self._limit
        return True

    def mark(self, end: str) -> bool:
        """End the episode. Returns whether one was running.

        Args:
            end: one of `ENDS`.

        Raises:
            ValueError: another.
        """
        if end not in ENDS:
            raise ValueError(f"{end!r}: expected one of {', '.join(ENDS)}")
        if self.state != RUNNING:
            return False
        self.state = end
        return True

    def tick(self, now: float) -> None:
        """Time passes: an episode beyond its limit has failed."""
        if self.state == RUNNING and now >= self._end:
            self.state = "failed"

    def give_up(self) -> None:
        """Wait for nothing any more."""
        self.state = IDLE
