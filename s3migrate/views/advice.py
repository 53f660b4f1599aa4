"""What another number of workers, or another limit, would do for a run, judged by its history. Pure.

Nothing is promised that was not seen: never more than the rate at which an endpoint began to refuse requests; and if
it never did, at most twice the present number of workers, since nobody has tried more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from executor.ledger.values import ENDED, Progress, Scaling
from s3migrate.views.why import Bottleneck, Why
from schema.flow.samples import SIDES, FlowPoint
from schema.formats.quantities import counted_text, duration_text
from schema.limits import Closure, closed_at, closed_text, through_closures

REFUSED_SHARE = 0.02
"""Of a step's requests: from this share on the endpoints did not bear the step's rate."""
WORTH_IT = 1.1
"""More workers are worth it when they raised the rate by a tenth."""
GROWTH = 2
RECENT_STEPS = 6
HELPED_BY_WORKERS = frozenset({Bottleneck.SOURCE, Bottleneck.DESTINATION, Bottleneck.PROCESSOR, Bottleneck.MEMORY})
"""Each worker adds threads, and a core and memory if its machine has them to spare."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about the number of workers."""

    bottleneck: Bottleneck
    workers: int
    """At work now, according to the ledger."""
    advised: int
    rate: float | None
    """Objects a second of the last minute; None: unknown."""
    borne: float | None
    """The highest rate at which almost nothing was refused; None: none was seen."""
    expected: float | None
    """Objects a second with `advised` workers; None: unknown."""
    seconds_left: float | None
    """At `rate`, including, as in `seconds_then`, the hours in which the calendar is closed."""
    seconds_then: float | None
    """At `expected`."""
    sentence: str
    """For people, escaped."""


@dataclass(frozen=True, slots=True)
class _Step:
    workers: int
    rate: float
    refused: bool


def advise(
    progress: Progress,
    scaling: Scaling | None,
    why: Why,
    *,
    history: Sequence[FlowPoint],
    closures: Sequence[Closure] = (),
) -> Advice:
    """The advice for a run with this *history*, oldest first, and these coming *closures* of its calendar."""
    steps = [_step(point) for point in history if point.counts.seconds > 0 and not point.counts.closed]
    recent = [step.rate for step in steps[-RECENT_STEPS:]]
    rate = sum(recent) / len(recent) if recent else None
    borne = max((step.rate for step in steps if not step.refused), default=None)
    workers = progress.workers
    advised, reason = _advised(scaling, why, steps, workers=workers)
    if (closed := closed_at(closures, progress.now)) is not None:
        advised, reason = 0, f"The calendar is {closed_text(closed.ends)}: until then a worker has nothing to do"
    if progress.state in ENDED:
        advised, reason = 0, f"The run is {progress.state.name.lower()}: a worker has nothing to do"
    expected = _expected(rate, borne, steps, now=workers, then=advised)
    left = max(0, progress.objects - progress.done - progress.failed)
    seconds_left, seconds_then = (
        None if seconds is None else through_closures(seconds, progress.now, closures)
        for seconds in (_seconds(left, rate), _seconds(left, expected))
    )
    return Advice(
        why.bottleneck,
        workers,
        advised,
        rate,
        borne,
        expected,
        seconds_left,
        seconds_then,
        _sentence(reason, workers, advised, seconds=(seconds_left, seconds_then)),
    )


def _step(point: FlowPoint) -> _Step:
    counts = point.counts
    asked = sum(counts.of(side).total for side in SIDES)
    refused = sum(counts.of(side).throttled for side in SIDES)
    workers = max(1, round(counts.seconds / point.seconds))
    return _Step(workers, counts.objects / point.seconds, refused > REFUSED_SHARE * asked)


def _advised(scaling: Scaling | None, why: Why, steps: Sequence[_Step], *, workers: int) -> tuple[int, str]:
    """How many workers, and why."""
    usable = scaling.desired_workers if scaling is not None else workers
    if scaling is not None and usable < workers:
        return usable, f"The run can use {usable} ({scaling.reason})"
    calm = _calm(steps)
    if calm is not None and (workers > calm or why.bottleneck is Bottleneck.THROTTLING):
        bearable = counted_text(calm, "worker")
        return min(workers, calm), f"The endpoints refuse requests; they were seen to bear {bearable}"
    if not steps or why.bottleneck is Bottleneck.UNKNOWN:
        return workers, "Not known yet: processes report every ten seconds what their threads wait for"
    if why.bottleneck not in HELPED_BY_WORKERS:
        return workers, f"More workers would not help: {why.sentence.rstrip('.')}"
    if (useless := _useless(steps, workers)) is not None:
        return workers, f"{useless} workers were tried and were no faster than {workers}"
    most = min(usable, GROWTH * max(1, workers), usable if calm is None else calm)
    if most > workers:
        return most, f"More workers should relieve the bottleneck ({why.bottleneck.value})"
    return workers, "There are as many workers as the run can use, or as its endpoints were seen to bear"


def _calm(steps: Sequence[_Step]) -> int | None:
    """The most workers that the endpoints bore; None: they have refused nothing so far."""
    refused = min((step.workers for step in steps if step.refused), default=None)
    if refused is None:
        return None
    return max((step.workers for step in steps if not step.refused and step.workers <= refused), default=1)


def _by_workers(steps: Sequence[_Step]) -> Mapping[int, float]:
    """The median rate with each number of workers."""
    numbers = {step.workers for step in steps}
    return {number: median(step.rate for step in steps if step.workers == number) for number in numbers}


def _useless(steps: Sequence[_Step], workers: int) -> int | None:
    """A number of workers above *workers* that was tried and was not worth it."""
    seen = _by_workers(steps)
    now = seen.get(workers)
    more = sorted(number for number in seen if number > workers)
    if now is None:
        return None
    return next((number for number in more if seen[number] < WORTH_IT * now), None)


def _expected(rate: float | None, borne: float | None, steps: Sequence[_Step], *, now: int, then: int) -> float | None:
    """The rate that was seen with *then* workers, else in proportion to *now*; never more than was *borne*, if any
    rate was refused.
    """
    if rate is None or (then and not now):
        return None
    seen = _by_workers(steps)
    guess = rate if then == now else seen.get(then, rate * then / max(1, now))
    return min(guess, borne) if borne is not None and any(step.refused for step in steps) else guess


def _seconds(objects: int, rate: float | None) -> float | None:
    return objects / rate if rate else None


def _sentence(reason: str, workers: int, advised: int, *, seconds: tuple[float | None, float | None]) -> str:
    now = counted_text(workers, "worker")
    if advised == workers:
        return f"Leave it at {now}. {reason}."
    left, then = seconds
    gain = f" What is left: {duration_text(left)} now, {duration_text(then)} then." if left and then else ""
    return f"{counted_text(advised, 'worker')} instead of {workers}. {reason}.{gain}"


def advice_figures(advice: Advice) -> dict[str, Any]:
    """For --format json."""
    return {
        "bottleneck": advice.bottleneck.value,
        "workers": advice.workers,
        "advised_workers": advice.advised,
        "objects_per_second": advice.rate,
        "borne_objects_per_second": advice.borne,
        "expected_objects_per_second": advice.expected,
        "seconds_left": advice.seconds_left,
        "seconds_then": advice.seconds_then,
        "text": advice.sentence,
    }
