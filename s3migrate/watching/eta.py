"""When a run will be done: an estimate and a range, from the history of its rates. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from executor.ledger.values import Progress
from schema.flow.samples import FlowPoint
from schema.limits import Closure, through_closures

LEAST_POINTS = 3
"""Steps with progress that an estimate needs."""
MOST_POINTS = 60
"""Only this many of the latest steps count: the last hour says little about the next one."""


class Eta(NamedTuple):
    """Seconds left."""

    low: float
    """At the speed of the fastest quarter of the steps."""
    expected: float
    high: float
    """At the speed of the slowest quarter."""


def eta_of(progress: Progress, history: Sequence[FlowPoint], closures: Sequence[Closure] = ()) -> Eta | None:
    """The working time that is left, plus the *closures* of the calendar within it."""
    left = _open_eta(progress, [point for point in history if not point.counts.closed])
    return left and Eta(*(through_closures(seconds, progress.now, closures) for seconds in left))


def _open_eta(progress: Progress, history: Sequence[FlowPoint]) -> Eta | None:
    """By objects or by bytes, whichever takes longer. None: too little is known, or nothing is left.

    Steps without progress count as well: a run that stands still half of the time takes twice as long.
    """
    left = progress.objects - progress.done - progress.failed, progress.bytes - progress.bytes_done
    points = [point for point in history[-MOST_POINTS:] if point.seconds > 0]
    if left[0] <= 0 or sum(1 for point in points if point.counts.objects) < LEAST_POINTS:
        return None
    figures: list[tuple[float, float, float]] = []
    rates = (
        [point.counts.objects / point.seconds for point in points],
        [point.counts.bytes / point.seconds for point in points],
    )
    for remaining, seen in zip(left, rates, strict=True):
        mean = sum(seen) / len(seen)
        if remaining > 0 and mean > 0:
            ordered = sorted(seen)
            slow, fast = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
            # A quarter without progress would give "never": the range ends at four times the estimate.
            figures.append((remaining / max(fast, mean), remaining / mean, remaining / max(min(slow, mean), mean / 4)))
    return Eta(*max(figures, key=lambda figure: figure[1])) if figures else None
