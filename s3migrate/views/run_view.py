"""What apply shows: a live line on a terminal, elsewhere a line now and then, JSON lines for machines."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import click

from executor.events import CALENDAR, ObjectTrouble
from executor.ledger.values import Progress, RunState
from s3migrate.console import output
from schema.errors import MigrationError
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, counted_text, duration_text, rate_text, size_text
from schema.process_view import BreakerState, ProcessView, Quality

LINE_SECONDS = 10.0
"""Seconds between two lines when there is no terminal."""
RATE_SECONDS = 30.0
LEAST_SEEN = 100
"""Objects, or one in a hundred, that must have arrived before the time left is estimated: a canary says little about
the rest.
"""
TROUBLES_SHOWN = 20
"""Of each reason; the others are only counted. `s3migrate status` and `explain` show all."""


class Rate:
    """Objects and bytes per second over the last RATE_SECONDS, from the ledger's figures."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def of(self, progress: Progress) -> tuple[float, float]:
        """(objects/s, bytes/s); 0 at the first call."""
        now = (progress.now.timestamp(), progress.done, progress.bytes_done)
        if not self._seen or self._seen[-1][0] < now[0]:
            self._seen.append(now)
        while len(self._seen) > 2 and now[0] - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        first = self._seen[0]
        seconds = now[0] - first[0]
        if seconds <= 0:
            return 0.0, 0.0
        return (now[1] - first[1]) / seconds, (now[2] - first[2]) / seconds

    def away(self, flow: ProcessView | None) -> None:
        """Forget all samples while an endpoint is down: afterwards the run continues as fast as before."""
        if flow is not None and any(end.breaker is not BreakerState.CLOSED for end in flow.endpoints.values()):
            self._seen.clear()

    def left(self, progress: Progress) -> float | None:
        """Seconds left, by objects or bytes, whichever takes longer; None: unknown."""
        objects, size = self.of(progress)
        estimates = []
        first = self._seen[0][1]
        if progress.done - first < min(LEAST_SEEN, progress.objects / 100):
            return None
        if objects > 0:
            estimates.append((progress.objects - progress.done) / objects)
        if size > 0:
            estimates.append((progress.bytes - progress.bytes_done) / size)
        return max(estimates) if estimates else None


def progress_line(progress: Progress, flow: ProcessView | None, rate: Rate) -> str:
    """One line: progress, problems, speed, time left."""
    rate.away(flow)
    objects, size = rate.of(progress)
    drifted = progress.drifted
    share = 100 * max(0, progress.done - drifted) / progress.objects if progress.objects else 100.0
    failed = [f"{count_text(progress.failed)} failed"]
    troubles = (failed if progress.failed else []) + ([f"{count_text(drifted)} drifted"] if drifted else [])
    if flow is not None:
        ends = sorted(flow.endpoints.items())
        troubles += [f"{name} {end.quality}" for name, end in ends if end.quality is not Quality.GOOD]
    if progress.restoring and progress.state is RunState.OPEN:
        troubles.append(restoring_text(progress))
    # A terminal may cut the line off: problems come first.
    words = [
        f"{math.floor(share * 10) / 10:.1f} %",
        *troubles,
        f"{count_text(progress.done)} of {counted_text(progress.objects, 'object')}",
        f"{size_text(progress.bytes_done)} of {size_text(progress.bytes)}",
    ]
    if progress.bytes_in_parts:
        words.append(f"and {size_text(progress.bytes_in_parts)} in parts of objects under way")
    if objects:
        words.append(f"{objects:,.0f}/s {rate_text(size)}")
    left = rate.left(progress)
    if left is not None and progress.done < progress.objects:
        words.append(f"{duration_text(left)} left")
    words += [] if progress.failed else failed
    if flow is not None:
        words.append(counted_text(flow.workers, "thread") + (f" ({flow.why})" if flow.why else ""))
    return ", ".join(words)


def restoring_text(progress: Progress) -> str:
    """Objects that wait for a restore, and when they are looked at next."""
    look = ""
    if progress.next_look is not None:
        look = f" (next look in {duration_text((progress.next_look - progress.now).total_seconds())})"
    return f"waiting for the archive: {counted_text(progress.restoring, 'object')}{look}"


class HumanRun:
    """For people, on stderr."""

    def __init__(self, live: bool, *, many: bool = False) -> None:
        """*many* sections: lines begin with the section, since a key alone is ambiguous."""
        self._live = live
        self._many = many
        self._rate = Rate()
        self._next_line = 0.0
        self._told_of_restores = False
        self._shown: Counter[str] = Counter()

    def _say(self, text: str) -> None:
        click.echo(text, err=True)

    def run_accepted(self, run_id: int, resumed: bool, progress: Progress) -> None:
        """The run and its progress so far."""
        total = f"{counted_text(progress.objects, 'object')}, {size_text(progress.bytes)}"
        if resumed:
            self._say(f"Run {run_id} resumed: {total}, of which {count_text(progress.done)} are done already.")
        else:
            self._say(f"Run {run_id} accepted: {total}.")

    def batch_finished(self, batch: str) -> None:
        """Shows nothing."""

    def object_trouble(self, trouble: ObjectTrouble) -> None:
        """Permanent failures, the first of each reason."""
        if not trouble.final:
            return
        self._shown[trouble.reason] += 1
        if self._shown[trouble.reason] <= TROUBLES_SHOWN:
            where = f"{trouble.section}: " if self._many else ""
            self._say(f"{where}{one_line(trouble.key)}: {trouble.reason}: {one_line(trouble.message)}")
        elif self._shown[trouble.reason] == TROUBLES_SHOWN + 1:
            self._say(f"... further objects with {trouble.reason} are only counted; `s3migrate status` lists them")

    def waiting(self, what: str, error: MigrationError | None) -> None:
        """Why nothing moves."""
        back = "open again" if what == CALENDAR else "back"
        self._say(f"The {what} is {back}." if error is None else f"Waiting for the {what}: {one_line(str(error))}")

    def moved(self, what: str, url: str) -> None:
        """Which endpoint is used now."""
        self._say(f"The run continues at {one_line(url)} instead of the {what}.")

    def progress(self, progress: Progress, flow: ProcessView) -> None:
        """A live line, or one every LINE_SECONDS and as soon as objects wait for a restore."""
        line = progress_line(progress, flow, self._rate)
        now = progress.now.timestamp()
        waits = progress.restoring > 0 and not self._told_of_restores
        if self._live or waits or now >= self._next_line:
            self._told_of_restores = self._told_of_restores or waits
            self._next_line = now + LINE_SECONDS
            output.progress(line, err=True)

    def draining(self, abandoning: bool) -> None:
        """What happens to objects in flight."""
        self._say(
            "Abandoning the objects in flight." if abandoning else "Stopping: objects in flight are finished first."
        )


class JsonRun:
    """For machines: the same events as JSON lines. An object has a line only if it fails, at most 100 per reason."""

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        self._emit = emit
        self._rate = Rate()
        self._shown: Counter[tuple[str, bool]] = Counter()

    def run_accepted(self, run_id: int, resumed: bool, progress: Progress) -> None:
        self._emit({"type": "run_accepted", "run_id": run_id, "resumed": resumed, **figures(progress)})

    def batch_finished(self, batch: str) -> None:
        self._emit({"type": "chunk_complete", "batch": batch})

    def object_trouble(self, trouble: ObjectTrouble) -> None:
        self._shown[trouble.reason, trouble.final] += 1
        if self._shown[trouble.reason, trouble.final] <= 100:
            self._emit(
                {
                    "type": "object_error",
                    "section": trouble.section,
                    "batch": trouble.batch,
                    "ord": trouble.ord,
                    "key": trouble.key,
                    "class": trouble.reason,
                    "http": trouble.status,
                    "attempt": trouble.attempt,
                    "final": trouble.final,
                    "message": trouble.message,
                }
            )

    def waiting(self, what: str, error: MigrationError | None) -> None:
        self._emit({"type": "waiting", "for": what, "back": error is None, "message": str(error or "")})

    def moved(self, what: str, url: str) -> None:
        self._emit({"type": "waiting", "for": what, "back": True, "moved_to": url, "message": f"continues at {url}"})

    def progress(self, progress: Progress, flow: ProcessView) -> None:
        self._rate.away(flow)
        objects, size = self._rate.of(progress)
        self._emit(
            {
                "type": "progress",
                **figures(progress),
                "objects_per_second": round(objects, 1),
                "bytes_per_second": round(size),
                "eta_seconds": round(left) if (left := self._rate.left(progress)) is not None else None,
                **flow.flow_json(),
            }
        )

    def draining(self, abandoning: bool) -> None:
        self._emit({"type": "draining", "abandoning": abandoning})


def figures(progress: Progress) -> dict[str, Any]:
    """The ledger's figures as JSON."""
    return {
        "run_id": progress.run_id,
        "name": progress.name,
        "state": progress.state.name.lower(),
        "objects": progress.objects,
        "bytes": progress.bytes,
        "done": progress.done,
        "bytes_done": progress.bytes_done,
        "bytes_in_parts": progress.bytes_in_parts,
        "failed": progress.failed,
        "outcomes": {outcome.name.lower(): n for outcome, n in progress.by_outcome.items() if n},
        "verified": progress.verified,
        "verify_failed": progress.verify_failed,
        "restoring": progress.restoring,
        "chunks": {
            "ready": progress.ready,
            "leased": progress.leased,
            "blocked": progress.blocked,
            "parked": progress.parked,
        },
        "processes": progress.workers,
    }
