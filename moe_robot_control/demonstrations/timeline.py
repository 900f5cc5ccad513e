"""Which messages belong to the time that joint states tell."""

from __future__ import annotations

LEAD = 0.5
"""Messages further ahead of the joint states are leftovers from before time was set back [s]."""


class Timeline:
    """Follows the stamps of joint states, whose time a simulation sets back at every episode.

    Topics are delivered independently: what was published before the new episode may come after
    its announcement. Stamps are integers [ns].
    """

    def __init__(self, lead: float = LEAD) -> None:
        """Start before any joint state."""
        self._lead = round(lead * 1e9)
        self._newest: int | None = None
        self._fresh = True
        self._awaiting = False

    def begin(self, new_time: bool) -> None:
        """An episode begins.

        Args:
            new_time: whether time is set back for it: until that is seen, nothing belongs to it.
        """
        self._awaiting = new_time and not self._fresh
        self._fresh = False

    def advance(self, stamp: int) -> bool:
        """Take a joint state; returns whether it ends the episode: time was set back unasked."""
        back = self._newest is not None and stamp < self._newest - self._lead
        late = self._newest is not None and stamp < self._newest and not back
        if self._awaiting and (back or late):
            # a new episode's time is lower, however short the last one was
            self._awaiting, back, late = False, False, False
            self._newest = stamp
            return False
        if back:
            self._fresh = True
        if not late:
            self._newest = stamp
        return back

    def includes(self, stamp: int) -> bool:
        """Whether something stamped so belongs to the present episode."""
        if self._awaiting:
            return False
        return self._newest is None or stamp <= self._newest + self._lead
