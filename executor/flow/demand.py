"""When a lane of the pool is to be filled again: before its tasks run out while the next chunk is claimed. Pure."""

from __future__ import annotations

AHEAD_SECONDS = 0.15
"""A claim and the reading of its chunk take some 10 ms, and several times that on a busy machine or with a ledger that
is some way off."""
WINDOW_SECONDS = 0.25
FORGETTING = 0.8
"""From one window to the next the rate falls no faster than by this factor: a pause is no lasting change."""


class Demand:
    """How fast the tasks of one lane are taken."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._taken = 0
        self._rate = 0.0

    def learn(self, taken: int, now: float) -> None:
        """*taken*: tasks taken from the lane so far. *now*: seconds."""
        if self._since is None:
            self._since, self._taken = now, taken
        elif now - self._since >= WINDOW_SECONDS:
            self._rate = max((taken - self._taken) / (now - self._since), self._rate * FORGETTING)
            self._since, self._taken = now, taken

    def low_water(self, least: int) -> int:
        """With so many tasks left, or fewer, it is time to claim; never less than *least*."""
        return max(least, round(self._rate * AHEAD_SECONDS))
