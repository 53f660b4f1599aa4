"""How far planning is, on the screen: a line at once, then one a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.inputs import PlanProgress
from schema.formats.escape import one_line
from schema.formats.quantities import count_text

BETWEEN_SECONDS = 1.0


@dataclass(slots=True)
class PlanLines:
    """Prints progress at most once in BETWEEN_SECONDS; the final line of a pair always."""

    say: Callable[[str], None]
    clock: Callable[[], float]
    """Seconds, monotonic."""
    _began: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By pair: when the first keys were listed, and how many these were."""
    _said: float | None = None

    def probing(self, pairs: int) -> None:
        """Both ends of so many pairs are being asked what they can do."""
        self.say(f"  probing both ends of {count_text(pairs)} pair{'s' if pairs > 1 else ''}")

    def reading(self, inventories: Mapping[str, Mapping[str, Any]]) -> None:
        """What is read instead of a bucket, and how old it is."""
        for origin, told in inventories.items():
            self.say(f"  {one_line(origin)}: {one_line(told['read'])}, {told['age']} old")

    def resuming(self, resumed: Mapping[str, Mapping[str, Any]]) -> None:
        """Which listings go on where a plan was interrupted, and how old what it listed is."""
        for origin, told in resumed.items():
            self.say(
                f"  {one_line(origin)}: goes on behind {count_text(told['objects'])} objects that an interrupted plan "
                f"listed up to {told['age']} ago (--fresh lists them again)"
            )

    def tell(self, progress: PlanProgress) -> None:
        """The totals so far, and the keys a second."""
        now = self.clock()
        listed = progress.source_listed + progress.destination_listed
        began, first = self._began.setdefault(progress.section, (now, listed))
        if not progress.finished and self._said is not None and now - self._said < BETWEEN_SECONDS:
            return
        self._said = now
        source, destination = count_text(progress.source_listed), count_text(progress.destination_listed)
        state = "listed" if progress.finished else "listing"
        rate = f", {count_text(round((listed - first) / (now - began)))} keys/s" if now - began > 0 else ""
        self.say(f"  {progress.section}: {state} {source} at the source, {destination} at the destination{rate}")
