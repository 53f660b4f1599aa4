"""What a report says about a run, collected once for every format. Plain values: formatting is up to the formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any

from executor.ledger.ledger import Ledger
from executor.ledger.values import (
    DRIFTED,
    ENDED,
    FailureReason,
    Outcome,
    ProcessRecord,
    Proofs,
    RunAccount,
    RunState,
    StageAccount,
)
from planner.review import prices
from s3migrate import __version__
from s3migrate.views.why import why_of
from schema.ends import endpoint_of
from schema.exit_codes import ExitCode
from schema.flow.request_classes import RequestClass
from schema.flow.samples import SIDES, Activity, FlowCounts, FlowPoint
from schema.formats.quantities import duration_text
from schema.plan import DELETES, Action, Loss, Plan, Section, Tally

FORMAT_VERSION = 1
"""Of the JSON format: raised when a field changes its meaning or is removed."""


class Unit(StrEnum):
    """What a number counts."""

    OBJECTS = "objects"
    REQUESTS = "requests"
    BYTES = "bytes"
    SECONDS = "seconds"
    USD = "usd"


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """How the run stands, in terms of apply's exit code."""

    exit_code: int | None
    """None: it has not ended."""
    meaning: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Term:
    """One of the outcomes that keys are counted under."""

    name: str
    objects: int
    text: str
    command: str | None = None
    """Lists the keys, or says what to do next."""
    good: bool = True


@dataclass(frozen=True, slots=True)
class Equation:
    """A number of keys and their outcomes: the terms add up to it."""

    of: str
    objects: int
    terms: tuple[Term, ...]

    @property
    def holds(self) -> bool:
        """Every key is counted exactly once."""
        return sum(term.objects for term in self.terms) == self.objects


@dataclass(frozen=True, slots=True)
class Foretold:
    """A figure that the plan estimated, and its actual value."""

    name: str
    unit: Unit
    planned: float | str | None
    """None: the plan does not say."""
    actual: float | str | None
    """None: not known."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """One side of a section."""

    section: str
    side: str
    endpoint: str
    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class AcceptedLoss:
    """Something that the destination cannot hold and the declaration gives up."""

    section: str
    loss: Loss


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything a report says: numbers, our own words, and names from outside (unescaped)."""

    made_at: datetime
    made_by: str
    run_id: int
    name: str
    serial: int
    plan_id: str
    lineage: str
    state: RunState
    accepted_at: datetime | None
    accepted_by: str
    accepted_with: str
    ended_at: datetime | None
    elapsed_seconds: float
    verdict: RunVerdict
    source_keys: Equation
    deletes: Equation | None
    """None: the plan deletes nothing."""
    comparisons: tuple[Foretold, ...]
    stages: tuple[StageAccount, ...]
    failures: tuple[FailureReason, ...]
    attempts_failed: int
    proofs: Proofs
    restores_asked: int
    losses: tuple[AcceptedLoss, ...]
    ends: tuple[End, ...]
    processes: tuple[ProcessRecord, ...]
    process_count: int
    limits_set: Mapping[str, float]
    flow: FlowCounts
    why: str
    """Why the run is not faster, or was not: a sentence."""
    history: tuple[FlowPoint, ...]
    plan: Plan

    @property
    def ended(self) -> bool:
        """The run is in a final state."""
        return self.state in ENDED

    @property
    def drifted(self) -> int:
        """Objects left alone because the source or the destination had changed since the plan."""
        equations = (self.source_keys, *((self.deletes,) if self.deletes else ()))
        names = {outcome.name.lower() for outcome in DRIFTED}
        return sum(term.objects for equation in equations for term in equation.terms if term.name in names)

    @property
    def thread_shares(self) -> dict[Activity, float]:
        """Shares (0..1) of the worker threads' time by activity; empty if nothing was recorded."""
        total = sum(self.flow.threads.values())
        return {name: seconds / total for name, seconds in self.flow.threads.items()} if total else {}


def report_of(ledger: Ledger, run_id: int) -> RunReport:
    """The report of a run, ended or not. Raises KeyError for an unknown run."""
    account = ledger.reports.account(run_id)
    plan = ledger.runs.plan_of(run_id)
    flow, history = ledger.samples.total(run_id), tuple(ledger.samples.history(run_id))
    run = account.run
    ended_at = run.finished_at if run.state in ENDED else None
    begun = run.created_at or account.now
    elapsed = ((ended_at or account.now) - begun).total_seconds()
    return RunReport(
        made_at=account.now,
        made_by=__version__,
        run_id=run_id,
        name=run.name,
        serial=run.serial,
        plan_id=run.plan_id,
        lineage=run.lineage,
        state=run.state,
        accepted_at=run.created_at,
        accepted_by=run.created_by,
        accepted_with=account.tool_version,
        ended_at=ended_at,
        elapsed_seconds=elapsed,
        verdict=_verdict(account),
        source_keys=_source_keys(plan, account),
        deletes=_deletes(plan, account),
        comparisons=tuple(_comparisons(plan, account, flow, elapsed=elapsed)),
        stages=tuple(account.stages),
        failures=tuple(account.failures),
        attempts_failed=account.attempts_failed,
        proofs=account.proofs,
        restores_asked=sum(flow.of(side).requests.get(RequestClass.RESTORE, 0) for side in SIDES),
        losses=tuple(AcceptedLoss(s.id, loss) for s in plan.sections for loss in s.losses if loss.accepted),
        ends=tuple(_ends(plan.sections)),
        processes=tuple(account.processes),
        process_count=account.process_count,
        limits_set=account.limits,
        flow=flow,
        why=why_of(ledger, ledger.reports.progress(run_id)).sentence,
        history=history,
        plan=plan,
    )


def _verdict(account: RunAccount) -> RunVerdict:
    """As `apply` concludes."""
    run, proofs = account.run, account.proofs
    failed = sum(stage.failed for stage in account.stages)
    drifted = sum(stage.by_outcome.get(outcome, 0) for stage in account.stages for outcome in DRIFTED)
    left = sum(stage.left for stage in account.stages)
    if run.state is RunState.SUPERSEDED:
        return RunVerdict(ExitCode.STALE, ExitCode.STALE.meaning, "A newer plan of the lineage replaced this run.")
    if run.state not in ENDED:
        sentence = f"The run has not ended: {left:,} objects are not finished."
        return RunVerdict(None, "not ended: apply the same plan again to resume it", sentence)
    if failed or drifted or proofs.not_verified or run.state is RunState.FAILED:
        found = [
            f"{number:,} {word}"
            for number, word in (
                (failed, "failed"),
                (drifted, "drifted"),
                (proofs.not_verified, "not proven"),
                (left, "never tried"),
            )
            if number
        ]
        sentence = f"The run has ended, but not every object arrived: {', '.join(found)}."
        return RunVerdict(ExitCode.FAILURES, ExitCode.FAILURES.meaning, sentence)
    return RunVerdict(ExitCode.DONE, ExitCode.DONE.meaning, "Every object that the plan moves has arrived.")


def _sum(stages: Iterable[StageAccount], outcome: Outcome) -> int:
    return sum(stage.by_outcome.get(outcome, 0) for stage in stages)


def _planned(plan: Plan, name: str) -> int:
    return sum(section.summary.get(name, Tally()).objects for section in plan.sections)


def _source_keys(plan: Plan, account: RunAccount) -> Equation:
    """Every key that the source's listing showed."""
    stages = [stage for stage in account.stages if stage.stage_id != DELETES]
    moved = (
        Term("copied", _sum(stages, Outcome.COPIED), "copied by this run"),
        Term("already_there", _sum(stages, Outcome.ALREADY_THERE), "found equal by this run, not written again"),
        Term("marker_laid", _sum(stages, Outcome.MARKER_LAID), "delete markers laid"),
        _decided(plan, Action.SKIP, "skipped", text="skipped: the plan found nothing to do"),
        _decided(plan, Action.EXCLUDED, "excluded", text="excluded by the filters"),
    )
    again = "plan again"
    bad = (
        _decided(plan, Action.CONFLICT, "conflict_planned", text="left alone by the plan: conflict"),
        _decided(plan, Action.UNSUPPORTED, "unsupported", text="not possible to migrate"),
        Term("source_changed", _sum(stages, Outcome.SOURCE_CHANGED), "changed at the source since the plan", again),
        Term("source_gone", _sum(stages, Outcome.SOURCE_GONE), "gone from the source since the plan", again),
        Term("conflict", _sum(stages, Outcome.CONFLICT), "changed at the destination since the plan", again),
        Term("failed", sum(stage.failed for stage in stages), "failed", f"s3migrate retry {account.run.run_id}"),
    )
    left = Term("left", sum(stage.left for stage in stages), "not finished", "apply the plan again")
    terms = (*moved, *(replace(term, good=False) for term in bad), left)
    return Equation("keys listed at the source", _planned(plan, "listed"), terms)


def _deletes(plan: Plan, account: RunAccount) -> Equation | None:
    planned = _planned(plan, Action.DELETE)
    if not planned:
        return None
    stages = [stage for stage in account.stages if stage.stage_id == DELETES]
    kept = sum(_sum(stages, outcome) for outcome in DRIFTED)
    return Equation(
        "keys to delete at the destination",
        planned,
        (
            Term("deleted", _sum(stages, Outcome.DELETED), "deleted"),
            Term("conflict", kept, "left alone: no longer what the plan saw", "plan again", good=False),
            Term("failed", sum(stage.failed for stage in stages), "failed", good=False),
            Term("left", sum(stage.left for stage in stages), "not finished"),
        ),
    )


def _decided(plan: Plan, action: Action, name: str, *, text: str) -> Term:
    return Term(name, _planned(plan, action), text, f"s3migrate show PLAN --action {action.value}")


def _ends(sections: Iterable[Section]) -> Iterable[End]:
    for section in sections:
        for side, end in (("source", section.source), ("destination", section.destination)):
            yield End(section.id, side, endpoint_of(end), end.bucket, end.prefix)


def _comparisons(plan: Plan, account: RunAccount, flow: FlowCounts, *, elapsed: float) -> Iterable[Foretold]:
    foretold: Mapping[str, Any] = plan.estimate
    figures = foretold.get("figures", {})
    note = "; ".join(filter(None, (_band(figures), _elsewhere(foretold, account))))
    yield Foretold("time", Unit.SECONDS, figures.get("seconds"), elapsed, note)
    yield Foretold("objects moved", Unit.OBJECTS, plan.transfer.objects,
                     sum(sum(stage.by_outcome.values()) for stage in account.stages))  # fmt: skip
    yield Foretold("bytes moved", Unit.BYTES, plan.transfer.bytes, sum(stage.bytes_done for stage in account.stages))
    known = bool(flow.seconds)
    for kind in RequestClass:
        name = kind.name.lower()
        planned = foretold.get("requests", {}).get(name)
        actual = sum(flow.of(side).requests.get(kind, 0) for side in SIDES)
        if planned or actual:
            proven = account.proofs.verified + account.proofs.not_verified
            note = _NOTES.get(kind, "") if kind is not RequestClass.GET or proven else ""
            yield Foretold(f"{_CLASSES[kind]} requests", Unit.REQUESTS, planned, actual if known else None, note)
    yield from _money(foretold, flow)
    yield Foretold(
        "memory of a process",
        Unit.BYTES,
        figures.get("memory_per_worker_bytes"),
        account.buffer_bytes,
        "actual: the most that a process reserved for objects in flight; planned: with 150 MiB for the program",
    )


_CLASSES = {
    RequestClass.GET: "GET-class",
    RequestClass.PUT: "PUT-class",
    RequestClass.DELETE: "DELETE",
    RequestClass.LIST: "LIST",
    RequestClass.RESTORE: "restore",
}
_NOTES = {
    RequestClass.LIST: "the plan counts the listings of plan and verify, too",
}


def _band(figures: Mapping[str, Any]) -> str:
    low, high = figures.get("seconds_low"), figures.get("seconds_high")
    return "" if low is None or high is None else f"the plan's band: {duration_text(low)} to {duration_text(high)}"


def _elsewhere(foretold: Mapping[str, Any], account: RunAccount) -> str:
    """A note if the run was carried out on other machines than the one it was estimated for."""
    machine = foretold.get("assumptions", {}).get("machine")
    hosts = sorted({process.host for process in account.processes})
    if not isinstance(machine, dict) or not hosts or hosts == [machine.get("host")]:
        return ""
    return (
        f"estimated for {machine.get('host')}, carried out on {', '.join(hosts[:3])}{' and others' * (len(hosts) > 3)}"
    )


def _money(foretold: Mapping[str, Any], flow: FlowCounts) -> Iterable[Foretold]:
    """Nothing if the plan has no prices."""
    charged = foretold.get("cost_usd")
    if charged is None:
        return
    note = "priced as STANDARD, the plan by storage class; without retrieval and traffic"
    spent = sum(
        (flow.of(side).requests.get(kind, 0) * price for side in SIDES for kind, price in _USD_1K.items()), Decimal(0)
    )
    actual = str((spent / 1000).quantize(Decimal("0.01"), ROUND_HALF_UP)) if flow.seconds else None
    yield Foretold("requests in money", Unit.USD, charged.get("requests"), actual, note)
    yield Foretold("all of it in money", Unit.USD, charged.get("total"), None, "not known: see the bill")


_STANDARD = prices.CLASSES["STANDARD"]
_USD_1K = {
    RequestClass.GET: _STANDARD.get_1k,
    RequestClass.PUT: _STANDARD.put_1k,
    RequestClass.LIST: prices.LIST_1K,
    RequestClass.DELETE: prices.DELETE_1K,
}
