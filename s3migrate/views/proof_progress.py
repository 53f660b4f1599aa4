"""The progress of verify and certify: a line at once, then one a second; on a terminal a bar that is redrawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from executor.verify.run import Looked
from s3migrate.views.progress_rows import show_bar
from schema.formats.quantities import count_text, duration_text
from schema.plan import WRITE_ACTIONS, Action, Plan

BETWEEN_SECONDS = 1.0


@dataclass(slots=True)
class ProofLines:
    """Prints progress at most once in BETWEEN_SECONDS."""

    say: Callable[[str], None]
    clock: Callable[[], float]
    """Seconds, monotonic."""
    live: bool
    expected: Looked
    """What it will have looked at in the end, according to the plan; see expected_of."""
    title: str = "Verify"
    verb: str = "compared"
    """What is done to an object."""
    _began: float | None = None
    _comparing: float | None = None
    """When the first object was compared, which takes longer than listing keys."""
    _said: float | None = None

    def tell(self, looked: Looked) -> None:
        """Show the totals so far, the rate and the time left."""
        now = self.clock()
        self._began = now if self._began is None else self._began
        if looked.objects and self._comparing is None:
            self._comparing = now
        if self._said is not None and now - self._said < BETWEEN_SECONDS:
            return
        self._said = now
        counts = [f"{count_text(looked.listed)} keys listed"] if self.expected.listed else []
        if self.expected.objects:
            counts.append(f"{count_text(looked.objects)} objects {self.verb}")
        words = f"  {', '.join(counts)}"
        seconds = now - self._began
        if seconds >= BETWEEN_SECONDS:
            words += f", {count_text(round((looked.listed + looked.objects) / seconds))}/s"
        left = self._left(looked, now)
        if not self.live:
            self.say(words + (f", about {duration_text(left)} left" if left is not None else ""))
            return
        rows = [words] if left is None else [words, f"  about {duration_text(left)} left"]
        done = min(looked.listed, self.expected.listed) + min(looked.objects, self.expected.objects)
        show_bar(self.title, done, self.expected.listed + self.expected.objects, words=rows)

    def _left(self, looked: Looked, now: float) -> float | None:
        """Seconds left; None while unknown: until the first objects are compared nobody knows how long that takes."""
        deep = self.expected.objects > 0
        done, total = (looked.objects, self.expected.objects) if deep else (looked.listed, self.expected.listed)
        began = self._comparing if deep else self._began
        if began is None or not 0 < done < total or now - began < BETWEEN_SECONDS:
            return None
        return (now - began) * (total - done) / done


def expected_of(plan: Plan, *, deep: bool, sample: int | None) -> Looked:
    """What verifying *plan* will look at if all of it has arrived. *deep*: objects are compared, too."""
    keys = objects = 0
    for section in plan.sections:
        counts = {name: tally.objects for name, tally in section.summary.items()}
        written = sum(counts.get(action, 0) for action in WRITE_ACTIONS)
        keys += counts["listed"] + written + counts.get(Action.SKIP, 0) + counts.get(Action.EXTRANEOUS, 0)
        compared = written + counts.get(Action.DELETE_MARKER, 0)
        objects += compared if sample is None else min(sample, compared)
    return Looked(keys, objects if deep else 0)


def keys_of(plan: Plan) -> int:
    """How many destination keys a certificate of *plan* covers."""
    names = ("listed", Action.DELETE, Action.EXTRANEOUS)
    return sum(section.summary[name].objects for section in plan.sections for name in names if name in section.summary)
