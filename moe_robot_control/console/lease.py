"""Several may watch, one operates: who that is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import monotonic

SILENCE = 3.0
"""An operator whose page has not been heard for so long has lost control [s]."""
PATIENCE = 15.0
"""A request for control that the operator leaves unanswered is granted after this [s]."""


class Lease:
    """Held by at most one viewer, the operator.

    Another may ask for it. The operator hands it over or refuses; if he does neither, he is
    taken to be away and loses it.
    """

    def __init__(
        self,
        on_loss: Callable[[Hashable], None] = lambda operator: None,
        silence: float = SILENCE,
        patience: float = PATIENCE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Start without operator.

        Args:
            on_loss: told of each operator that ceases to be it, before another becomes it.
            silence: see `SILENCE` [s].
            patience: see `PATIENCE` [s].
            clock: seconds that never go back.
        """
        self._on_loss = on_loss
        self._silence = silence
        self._patience = patience
        self._clock = clock
        self._operator: Hashable | None = None
        self._heard = 0.0
        self._asking: Hashable | None = None
        self._asked = 0.0

    @property
    def operator(self) -> Hashable | None:
        """Who operates now."""
        self._expire()
        return self._operator

    @property
    def asking(self) -> Hashable | None:
        """Who waits for control."""
        self._expire()
        return self._asking

    def take(self, viewer: Hashable) -> bool:
        """Become the operator, or ask the present one; whether control is held now."""
        self._expire()
        if self._operator is None:
            self._give(viewer)
        elif self._operator != viewer and self._asking is None:
            self._asking, self._asked = viewer, self._clock()
        return self._operator == viewer

    def answer(self, viewer: Hashable, grant: bool) -> bool:
        """The operator's answer to who asks; whether there was somebody to answer."""
        self._expire()
        if self._operator != viewer or self._asking is None:
            return False
        asking, self._asking = self._asking, None
        if grant:
            self._give(asking)
        return True

    def hear(self, viewer: Hashable) -> None:
        """Note that a viewer's page is alive."""
        self._expire()
        if self._operator == viewer:
            self._heard = self._clock()

    def leave(self, viewer: Hashable) -> None:
        """Give up control, or the wish for it."""
        if self._asking == viewer:
            self._asking = None
        if self._operator == viewer:
            self._give(self._asking)

    def _expire(self) -> None:
        now = self._clock()
        if self._operator is None:
            return
        unanswered = self._asking is not None and now - self._asked > self._patience
        if unanswered or now - self._heard > self._silence:
            self._give(self._asking)

    def _give(self, viewer: Hashable | None) -> None:
        loser, self._operator = self._operator, viewer
        self._asking = None
        self._heard = self._clock()
        if loser is not None:
            self._on_loss(loser)
