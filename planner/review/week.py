"""What a calendar's closed hours add to a duration. A plan does not know when it will be applied: any week will do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple, Self

from schema.formats.quantities import duration_text
from schema.limits import A_MONDAY, Limits

WEEK = 7 * 24 * 3600


class WeekHours(NamedTuple):
    """Seconds of a week."""

    open: int
    longest_open: int
    """Without a closed hour in between."""
    longest_closed: int

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """Those of a calendar."""
        ends = A_MONDAY + timedelta(weeks=2)  # so that no span is cut in two
        closures = list(limits.closures(A_MONDAY, ends))
        if not closures:
            return cls(WEEK, WEEK, 0)
        edges = [A_MONDAY, *(moment for c in closures for moment in (c.begins, c.ends)), ends]
        spans = [round((end - begin).total_seconds()) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
        closed = sum(c.seconds for c in limits.closures(A_MONDAY, A_MONDAY + timedelta(weeks=1)))
        return cls(WEEK - round(closed), max(spans), round(max(c.seconds for c in closures)))

    def at_best(self, seconds: int) -> int:
        """How long *seconds* of work take that begin where the longest open span does."""
        rounds, rest = divmod(seconds, max(1, self.open))
        if rest <= self.longest_open:
            return rounds * WEEK + rest
        # Beyond the longest span the closed hours are spread as evenly as the week allows.
        return rounds * WEEK + rest * WEEK // self.open

    def at_worst(self, seconds: int) -> int:
        """How long *seconds* of work take that begin where the longest closed span does."""
        return self.longest_closed + (seconds if not self.longest_closed else seconds * WEEK // max(1, self.open))

    @property
    def assumed(self) -> dict[str, Any]:
        """What the reader of an estimate should know of it."""
        if not self.longest_closed:
            return {}
        return {
            "closed_hours": (
                f"{duration_text(WEEK - self.open)} of each week; the expected duration begins with the longest open "
                f"span ({duration_text(self.longest_open)}), the high one with the longest closed one "
                f"({duration_text(self.longest_closed)})"
            )
        }
