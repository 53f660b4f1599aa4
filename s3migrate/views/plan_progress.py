"""The progress of plan: a line at once, then one a second; on a terminal a bar that is redrawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s3migrate.views.progress_rows import show_bar
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, duration_text

if TYPE_CHECKING:
    from planner.inputs import PlanProgress

BETWEEN_SECONDS = 1.0


@dataclass(slots=True)
class PlanLines:
    """Prints progress at most once in BETWEEN_SECONDS; the final line of a pair always."""

    say: Callable[[str], None]
    clock: Callable[[], float]
    """Seconds, monotonic."""
    live: bool = False
    """On a terminal: a bar, redrawn."""
    expected: Mapping[str, int] = field(default_factory=dict)
    """Keys at the source, by pair, according to the previous plan; pairs not named are unknown."""
    _began: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By pair: when the first keys were listed, and how many."""
    _said: float | None = None

    def probing(self, pairs: int) -> None:
        """That many pairs are being probed."""
        self.say(f"  probing both ends of {count_text(pairs)} pair{'s' if pairs > 1 else ''}")

    def reading(self, inventories: Mapping[str, Mapping[str, Any]]) -> None:
        """Which inventories are read instead of a bucket, and how old they are."""
        for origin, told in inventories.items():
            self.say(f"  {one_line(origin)}: {one_line(told['read'])}, {told['age']} old")

    def resuming(self, resumed: Mapping[str, Mapping[str, Any]]) -> None:
        """Which listings resume those of an interrupted plan, and how old those are."""
        for origin, told in resumed.items():
            self.say(
                f"  {one_line(origin)}: resumes after {count_text(told['objects'])} objects that an interrupted plan "
                f"listed up to {told['age']} ago (--fresh lists them again)"
            )

    def tell(self, progress: PlanProgress) -> None:
        """Show the totals so far and the keys per second."""
        now = self.clock()
        listed = progress.source_listed + progress.destination_listed
        began, first = self._began.setdefault(progress.section, (now, listed))
        if not progress.finished and self._said is not None and now - self._said < BETWEEN_SECONDS:
            return
        self._said = now
        source, destination = count_text(progress.source_listed), count_text(progress.destination_listed)
        state = "listed" if progress.finished else "listing"
        speed = (listed - first) / (now - began) if now > began else 0.0
        rate = f", {count_text(round(speed))} keys/s" if speed or now > began else ""
        line = f"  {progress.section}: {state} {source} at the source, {destination} at the destination{rate}"
        if not self.live or progress.finished:
            self.say(line)
            return
        total = self.expected.get(progress.section)
        left = _left(now - began, progress, total)
        show_bar(f"Plan {progress.section}", progress.source_listed, total, words=[line, *left])


def _left(seconds: float, progress: PlanProgress, total: int | None) -> list[str]:
    """How long the source's listing will still take, if the previous plan says how many keys there are."""
    if total is None or not 0 < progress.source_listed < total or seconds < BETWEEN_SECONDS:
        return []
    return [f"  about {duration_text(seconds * (total - progress.source_listed) / progress.source_listed)} left"]
