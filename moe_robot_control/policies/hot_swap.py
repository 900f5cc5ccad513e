"""Replacing a policy while it acts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class HotSwap(Generic[T]):
    """Something that was loaded, and is loaded anew in a thread of its own.

    Whoever reads `current` gets the old one or the new one, whole, and never waits. What cannot
    be loaded changes nothing.

    Attributes:
        current: what was loaded last.
    """

    def __init__(self, load: Callable[[], T]) -> None:
        """Load for the first time.

        Args:
            load: called here, and in the thread at every reload.

        Raises:
            Whatever `load` raises.
        """
        self._load = load
        self.current = load()
        self._before: Future[T] | None = None
        self._last: Future[T] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hot_swap")

    def reload(self) -> Future[T]:
        """Begin to load anew; reloads are done one after the other.

        A reload that has not begun will find whatever is newest then: asked for more, it is that
        one. So wishes that come faster than can be loaded do not pile up.

        Returns:
            What becomes `current`, or the exception for which the old one stays.
        """
        if self._before is None or self._before.done():
            self._before, self._last = self._last, self._pool.submit(self._swap)
        return self._last  # which cannot begin until the one before is done

    def close(self) -> None:
        """Wait for what is being loaded, and begin nothing more."""
        self._pool.shutdown(cancel_futures=True)

    def _swap(self) -> T:
        self.current = self._load()
        return self.current
