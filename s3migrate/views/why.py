"""Why a run is not faster: one sentence, from where its threads' time went. Pure.

It applies to the interval that the counts cover: the last minute, or all of a run that has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from executor.ledger.ledger import Ledger
from executor.ledger.values import ENDED, Progress
from schema.errors import WhichSide
from schema.flow.samples import SIDES, Activity, FlowCounts, FlowSample
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, counted_text, size_text
from schema.limits import CLOSED, CONCURRENT_REQUESTS, LIMITS
from schema.process_view import BreakerState, ProcessView

RECENT_SECONDS = 60.0
CLEAR_SHARE = 0.3
"""Share of the threads' time from which waits for a limit, throttling, memory or the ledger are significant."""
MOSTLY_IDLE = 0.5
ONE_CORE = 0.8
"""Share of one core's time used by a process: Python code can use at most one core."""
STARVED = 0.25
"""Share of the threads' time spent ready but without a processor."""
ALL_BUSY = 0.8
"""Share of the time in which the machine had no processor to spare."""
OWN_PART = 0.25
"""Of one core: a process that uses less does not keep its machine busy and is not slowed by much."""
WORTH_TELLING = 0.05


class Bottleneck(StrEnum):
    """What holds a run back."""

    SOURCE = "source"
    DESTINATION = "destination"
    THROTTLING = "throttling"
    LIMIT = "limit"
    MEMORY = "memory"
    LEDGER = "ledger"
    PROCESSOR = "processor"
    NO_WORK = "no work"
    """Little is left, or what is left waits for something else."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Why:
    """The answer."""

    bottleneck: Bottleneck
    shares: Mapping[Activity, float]
    """Of the threads' time; they add up to 1.0, or are empty if nothing is known."""
    sentence: str
    """For people, escaped: the bottleneck with figures, and what would help."""


NOT_KNOWN = Why(
    Bottleneck.UNKNOWN, {}, "Not known yet: processes report every ten seconds what their threads wait for."
)

ACTIVITY_WORDS = {
    Activity.SOURCE: "waiting for the source",
    Activity.DESTINATION: "waiting for the destination",
    Activity.LIMIT: "held by a limit",
    Activity.THROTTLING: "held back after refusals or failures",
    Activity.MEMORY: "waiting for memory",
    Activity.LEDGER: "waiting for the ledger",
    Activity.WORKING: "at work",
    Activity.IDLE: "without an object",
}


def why_of(ledger: Ledger, progress: Progress) -> Why:
    """Why the run is not faster, or was not."""
    recent = ledger.samples.latest(progress.run_id, seconds=RECENT_SECONDS)
    if progress.state in ENDED:
        return why_not_faster(ledger.samples.total(progress.run_id), recent)
    return why_not_faster(sum((sample.counts for sample in recent), FlowCounts()), recent)


def why_figures(why: Why) -> dict[str, Any]:
    """For --json."""
    shares = {activity.name.lower(): round(share, 4) for activity, share in sorted(why.shares.items())}
    return {"bottleneck": why.bottleneck.value, "shares": shares, "text": why.sentence}


def why_not_faster(counts: FlowCounts, recent: Sequence[FlowSample]) -> Why:
    """Judge *counts*. *recent*: the latest samples, oldest first; the last one of each process shows its state.

    Waits with a cause of their own are considered first (a limit, refusals, memory, the ledger), then busy processors,
    because they make every answer seem slow. Otherwise it is the side that takes more of the time.
    """
    time = sum(counts.threads.values())
    if time <= 0 or counts.seconds <= 0:
        return NOT_KNOWN
    shares = {activity: seconds / time for activity, seconds in counts.threads.items()}
    standing = list({sample.worker_id: sample for sample in recent}.values())
    facts = _Facts(counts, shares, standing)
    bottleneck = _judge(facts)
    rest = _rest(shares, _MEANT_BY.get(bottleneck))
    return Why(bottleneck, shares, _SENTENCES[bottleneck](facts) + rest)


@dataclass(frozen=True, slots=True)
class _Facts:
    counts: FlowCounts
    shares: Mapping[Activity, float]
    standing: Sequence[FlowSample]

    def share(self, activity: Activity) -> float:
        return self.shares.get(activity, 0.0)

    def percent(self, activity: Activity) -> str:
        return _percent(self.share(activity))

    @property
    def cores(self) -> float:
        """Cores that a process uses on average."""
        return self.counts.processor_seconds / self.counts.seconds

    @property
    def starved(self) -> float:
        return self.counts.processor_wait_seconds / sum(self.counts.threads.values())

    @property
    def saturated(self) -> float:
        return self.counts.saturated_seconds / self.counts.seconds

    @property
    def on_busy_machine(self) -> bool:
        """All processors are busy, partly with this process: servers on the same machine then answer late."""
        return self.saturated >= ALL_BUSY and self.cores >= OWN_PART

    @property
    def views(self) -> list[ProcessView]:
        return [sample.view for sample in self.standing]

    @property
    def held_to_few(self) -> bool:
        """The number of concurrent requests is limited, and that limit is the bottleneck."""
        return any(view.why == "limited" for view in self.views)


def _judge(facts: _Facts) -> Bottleneck:
    explicit = {
        Bottleneck.LIMIT: facts.share(Activity.LIMIT),
        Bottleneck.THROTTLING: facts.share(Activity.THROTTLING),
        Bottleneck.MEMORY: facts.share(Activity.MEMORY),
        Bottleneck.LEDGER: facts.share(Activity.LEDGER),
    }
    most = max(explicit, key=lambda cause: explicit[cause])
    if facts.share(Activity.IDLE) >= MOSTLY_IDLE and facts.share(Activity.IDLE) > explicit[most]:
        return Bottleneck.NO_WORK
    if explicit[most] >= CLEAR_SHARE:
        return most
    if facts.held_to_few:
        return Bottleneck.LIMIT
    if facts.cores >= ONE_CORE or facts.starved >= STARVED or facts.on_busy_machine:
        return Bottleneck.PROCESSOR
    sides = {
        Bottleneck.SOURCE: facts.share(Activity.SOURCE),
        Bottleneck.DESTINATION: facts.share(Activity.DESTINATION),
        Bottleneck.PROCESSOR: facts.share(Activity.WORKING),
    }
    return max(sides, key=lambda cause: sides[cause])


def _side(which: WhichSide, activity: Activity) -> Callable[[_Facts], str]:
    def sentence(facts: _Facts) -> str:
        side = facts.counts.of(which)
        answered = side.total - side.throttled - side.failed
        took = f" ({1000 * side.seconds / answered:,.0f} ms on average)" if answered > 0 else ""
        said = f"{facts.percent(activity)} of thread time waited for the {which.value}'s answers{took}; "
        return said + _more_threads(facts.views)

    return sentence


def _more_threads(views: Sequence[ProcessView]) -> str:
    """Whether more threads would help, according to the controllers."""
    threads = counted_text(sum(view.workers for view in views), "thread")
    reasons = {view.why for view in views}
    if "fixed" in reasons:
        return f"the plan fixes {threads}: more may help (limits.workers)"
    if "more gave no more goodput" in reasons:
        return f"more than {threads} were no faster"
    return f"{threads} now, the best number found so far"


def _throttling(facts: _Facts) -> str:
    refused = {side: facts.counts.of(side).throttled for side in SIDES}
    side = max(SIDES, key=lambda side: refused[side])
    share = facts.percent(Activity.THROTTLING)
    asked = counted_text(facts.counts.of(side).total, "request")
    opened = sorted(
        {name for v in facts.views for name, e in v.endpoints.items() if e.breaker is not BreakerState.CLOSED}
    )
    if opened:
        return f"{share} of thread time waited for {one_line(', '.join(opened))}, which is not answering at present"
    if refused[side]:
        return (
            f"The {side.value} throttles: {count_text(refused[side])} of {asked} were refused, and "
            f"{share} of thread time was held back for it; ask its operator for more, or run at another hour"
        )
    return f"{share} of thread time was spent between attempts after failures; `s3migrate status` names them"


def _limit(facts: _Facts) -> str:
    held = facts.counts.limit_seconds
    if facts.share(Activity.LIMIT) < CLEAR_SHARE or not held:
        name = CONCURRENT_REQUESTS.name
        threads = counted_text(sum(view.workers for view in facts.views), "thread")
        return f"The limit {_limit_text(name, facts)} holds all processes to {threads}{_lift(name)}"
    name = max(held, key=lambda name: held[name])
    if name == CLOSED:
        share = facts.percent(Activity.LIMIT)
        opens = f"`s3migrate limit RUN {CLOSED}=none` opens it"
        return f"{share} of thread time waited for the calendar, which is closed; {opens}"
    return f"The limit {_limit_text(name, facts)} held {facts.percent(Activity.LIMIT)} of thread time back{_lift(name)}"


def _limit_text(name: str, facts: _Facts) -> str:
    for view in facts.views:
        if view.limits is not None and name in view.limits.figures and name in LIMITS:
            source = view.limits.why.get(name, "")
            return f"{name} ({LIMITS[name].text(view.limits.figures[name])}{', ' + source if source else ''})"
    return one_line(name)


def _lift(name: str) -> str:
    return f"; `s3migrate limit RUN {one_line(name)}=...` changes it"


def _memory(facts: _Facts) -> str:
    budget = sum(sample.buffer_limit for sample in facts.standing)
    of = f" ({size_text(budget)} in all)" if budget else ""
    return (
        f"{facts.percent(Activity.MEMORY)} of thread time waited for memory{of}; raise limits.memory, or use machines "
        "with more"
    )


def _ledger(facts: _Facts) -> str:
    return (
        f"{facts.percent(Activity.LEDGER)} of thread time waited for the ledger; look at its PostgreSQL: its disk, its "
        "load, and the network between"
    )


def _processor(facts: _Facts) -> str:
    used = f"The processor is the limit: a process used {facts.cores:.2f} of one core"
    if facts.starved >= STARVED:
        return (
            f"{used}, and {_percent(facts.starved)} of thread time was spent waiting for a free one; a machine with "
            "more free cores, or a second machine, would help"
        )
    if facts.cores < ONE_CORE and facts.on_busy_machine:
        return (
            f"{used}, and {_percent(facts.saturated)} of the time the machine had none to spare; a machine with more "
            "free cores would help"
        )
    return f"{used}, and it cannot use more than one; more processes (`apply --processes auto`) would help"


def _no_work(facts: _Facts) -> str:
    return (
        f"{facts.percent(Activity.IDLE)} of thread time had no object to work on: few are left, or they wait for "
        "another stage, an archive or a lease"
    )


def _unknown(_facts: _Facts) -> str:
    return NOT_KNOWN.sentence


_SENTENCES: Mapping[Bottleneck, Callable[[_Facts], str]] = {
    Bottleneck.SOURCE: _side(WhichSide.SOURCE, Activity.SOURCE),
    Bottleneck.DESTINATION: _side(WhichSide.DESTINATION, Activity.DESTINATION),
    Bottleneck.THROTTLING: _throttling,
    Bottleneck.LIMIT: _limit,
    Bottleneck.MEMORY: _memory,
    Bottleneck.LEDGER: _ledger,
    Bottleneck.PROCESSOR: _processor,
    Bottleneck.NO_WORK: _no_work,
    Bottleneck.UNKNOWN: _unknown,
}
_MEANT_BY = {
    Bottleneck.SOURCE: Activity.SOURCE,
    Bottleneck.DESTINATION: Activity.DESTINATION,
    Bottleneck.THROTTLING: Activity.THROTTLING,
    Bottleneck.LIMIT: Activity.LIMIT,
    Bottleneck.MEMORY: Activity.MEMORY,
    Bottleneck.LEDGER: Activity.LEDGER,
    Bottleneck.NO_WORK: Activity.IDLE,
}


def _rest(shares: Mapping[Activity, float], mentioned: Activity | None) -> str:
    """The other shares worth mentioning, largest first."""
    others = sorted(
        ((share, activity) for activity, share in shares.items() if activity is not mentioned), reverse=True
    )
    words = [f"{_percent(share)} {ACTIVITY_WORDS[activity]}" for share, activity in others if share >= WORTH_TELLING]
    return f". Threads: {', '.join(words)}." if words else "."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
