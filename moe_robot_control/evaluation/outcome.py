"""How an episode went, in simulation or over the graph."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How one episode went.

    Attributes:
        scenario, skill: what was to be done; one of them is None.
        seed: of the episode.
        state: succeeded, failed (a skill out of order) or timed_out.
        success: whether everything was done in order.
        time: simulated [s].
        stages_done, stages_total: skills done, and to be done.
    """

    scenario: int | None
    skill: str | None
    seed: int
    state: str
    success: bool
    time: float
    stages_done: int
    stages_total: int
