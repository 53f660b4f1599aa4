"""Proving a whole plan: accounting by listings first, then object by object, many at once."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from executor.copy.whole import Tools
from executor.early_stop import EarlyStop
from executor.ledger.ledger import Ledger
from executor.route import SectionRuntime
from executor.verify.expectation import Expectations, Expected
from executor.verify.listing import ARRIVED, MOVED, Finding, Verdict, destination_findings, source_findings
from executor.verify.objects import Level, prove_object
from executor.verify.versions import version_findings
from schema.errors import Scope, Stopped, StoreError
from schema.manifest import ManifestStore
from schema.plan import Action, Plan

AT_ONCE = 32
Report = Callable[[Finding], None]


@dataclass(slots=True)
class Tallies:
    """What verify looked at. `findings` counts by verdict."""

    planned: int = 0
    proven: int = 0
    """Objects whose heads (or contents) were compared and found equal."""
    archived: int = 0
    """Of these: not read at level content, since one side lies in an archive. Each is reported."""
    sampled: bool = False
    not_migrated: int = 0
    """Accounted for, and not moved by decision: conflict, unsupported, excluded."""
    findings: dict[Verdict, int] = field(default_factory=dict)

    @property
    def differing(self) -> int:
        """All findings."""
        return sum(self.findings.values())


def verify(
    plan: Plan,
    sections: Mapping[str, SectionRuntime],
    manifests: ManifestStore,
    ledger: Ledger,
    run_id: int | None,
    level: Level,
    sample: int | None,
    tools: Tools,
    report: Report,
    progress: Callable[[Tallies], None],
    parallel_listing: int = 4,
) -> Tallies:
    """Look at every key of every section at *level*; each finding goes to *report* once.

    *sample*: of the deeper levels, only this many objects, chosen by their key's hash. Raises StoreErrors of the
    listings, run-wide StoreErrors, IntegrityRefused, Stopped.
    """
    tallies = Tallies(sampled=sample is not None and level is not Level.LISTING)
    told: set[tuple[str, str]] = set()

    def tell(finding: Finding) -> None:
        if finding.verdict is Verdict.ARCHIVED:
            tallies.proven += 1
            tallies.archived += 1
            report(finding)
            return
        tallies.findings[finding.verdict] = tallies.findings.get(finding.verdict, 0) + 1
        told.add((finding.section, finding.target))
        report(finding)

    for section_id, runtime in sections.items():
        lines = Expectations(plan, runtime.section, manifests, ledger, run_id)
        section = runtime.section
        not_moved = ("conflict", "unsupported", "excluded")
        tallies.not_migrated += sum(section.summary[a].objects for a in not_moved if a in section.summary)
        for finding in _accounting(plan, runtime, section_id, lines, parallel_listing):
            tell(finding)
        if level is not Level.LISTING:
            _objects(runtime, section_id, lines, level, sample, tools, tell, told, tallies, progress)
        else:
            tallies.planned += sum(b.objects for b in plan.batches if b.section == section_id)
    return tallies


def _accounting(
    plan: Plan, runtime: SectionRuntime, section_id: str, lines: Expectations, parallel: int
) -> Iterator[Finding]:
    source, destination = runtime.section.source, runtime.section.destination
    if plan.policy.versions == "all":
        yield from version_findings(section_id, runtime, lines)
        return
    listing = runtime.source.list_objects(source.prefix, parallel=parallel)
    yield from source_findings(section_id, listing, lines.by_source())
    listing = runtime.destination.list_objects(destination.prefix, parallel=parallel)
    yield from destination_findings(section_id, listing, lines.by_target())


def _objects(
    runtime: SectionRuntime,
    section_id: str,
    lines: Expectations,
    level: Level,
    sample: int | None,
    tools: Tools,
    tell: Report,
    told: set[tuple[str, str]],
    tallies: Tallies,
    progress: Callable[[Tallies], None],
) -> None:
    """Head (and read) the objects that the accounting found in their places."""
    early_stop = EarlyStop()

    def prove(line: Expected) -> Finding | None:
        entry = line.entry
        try:
            proof = prove_object(runtime, entry, line.completion, level, tools)
        except StoreError as error:
            if error.scope is Scope.RUN:
                raise
            early_stop.failed(error, runtime)
            return Finding(section_id, Verdict.UNREADABLE, entry.key, entry.target, str(error))
        early_stop.succeeded()
        if proof.differences:
            return Finding(section_id, Verdict.DIFFERENT, entry.key, entry.target, "; ".join(proof.differences))
        return Finding(section_id, Verdict.ARCHIVED, entry.key, entry.target, proof.unread) if proof.unread else None

    def due() -> Iterator[Expected]:
        for line in lines.transfers():
            tallies.planned += 1
            moved = line.entry.action in MOVED or line.entry.action is Action.DELETE_MARKER
            arrived = line.completion is not None and line.completion.outcome in ARRIVED
            if moved and arrived and (section_id, line.entry.target) not in told:
                yield line

    chosen = due() if sample is None else iter(heapq.nsmallest(sample, due(), key=_place))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="verify") as pool:
        for finding in _bounded(pool, prove, chosen, tools):
            if finding is None:
                tallies.proven += 1
            else:
                tell(finding)
            progress(tallies)


def _place(line: Expected) -> bytes:
    """Where a line falls in the sample: by its key's hash, so that the same keys are chosen each time."""
    return hashlib.sha256(b"verify\0" + line.entry.target.encode("utf-8", "surrogatepass")).digest()


def _bounded(
    pool: ThreadPoolExecutor,
    prove: Callable[[Expected], Finding | None],
    lines: Iterator[Expected],
    tools: Tools,
) -> Iterator[Finding | None]:
    """Results as they come, with at most four times AT_ONCE lines in hand."""
    running: set[Future[Finding | None]] = set()
    try:
        for line in lines:
            if tools.stop.draining:
                raise Stopped("verify was stopped; nothing was changed, run it again")
            running.add(pool.submit(prove, line))
            if len(running) >= 4 * AT_ONCE:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in running:
            future.cancel()
