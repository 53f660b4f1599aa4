"""Proving a whole plan: accounting by listings first, then object by object, many at once."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from executor.copy.job import Tools
from executor.early_stop import EarlyStop
from executor.ledger.ledger import Ledger
from executor.route import Route
from executor.stop import Stop, stopped_reading
from executor.verify.expectation import Expectations, Expected
from executor.verify.history import version_findings
from executor.verify.listing import ARRIVED, NOTES, Mismatch, MismatchKind, destination_findings, source_findings
from executor.verify.objects import Depth, ObjectProver, Proof
from schema.errors import Scope, StoreError
from schema.files.manifest import ManifestStore
from schema.plan import VERSION_ORDER, WRITE_ACTIONS, Action, Plan
from storage.port import believed

AT_ONCE = 32
NOT_MOVED = (Action.CONFLICT, Action.UNSUPPORTED, Action.EXCLUDED)
"""What a plan may decide instead of moving a key of the source."""
Report = Callable[[Mismatch], None]
TOLD_EACH = 256
"""Keys or objects between two progress reports."""
K = TypeVar("K")


@dataclass(slots=True)
class Looked:
    """The progress of verify, for both sides and all sections together."""

    listed: int = 0
    """Keys."""
    objects: int = 0
    """Compared one by one; 0 at level listing."""

    def count_key(self) -> bool:
        """Count a key; returns whether progress is due to be reported."""
        self.listed += 1
        return self.listed % TOLD_EACH == 1

    def count_object(self) -> bool:
        """Count an object; returns whether progress is due to be reported."""
        self.objects += 1
        return self.objects % TOLD_EACH == 1


def ignore_progress(_looked: Looked) -> None:
    """For verifying without an observer."""


@dataclass(slots=True)
class Tallies:
    """What verify looked at. `findings` counts by verdict."""

    planned: int = 0
    proven: int = 0
    """Objects whose heads (or contents) were compared and found equal."""
    archived: int = 0
    """Of these: not read at level content, since one side lies in an archive. Each is reported."""
    sampled: bool = False
    not_migrated: dict[Action, int] = field(default_factory=dict)
    """Accounted for, and not moved by decision: conflict, unsupported, excluded."""
    findings: dict[MismatchKind, int] = field(default_factory=dict)

    def add(self, finding: Mismatch) -> None:
        """Count *finding*."""
        if finding.verdict is MismatchKind.ARCHIVED:
            self.proven += 1
            self.archived += 1
        elif finding.verdict not in NOTES:
            self.findings[finding.verdict] = self.findings.get(finding.verdict, 0) + 1

    @property
    def differing(self) -> int:
        """All findings."""
        return sum(self.findings.values())


@dataclass(frozen=True, slots=True)
class VerifyRun:
    """One verification of a whole plan: every key of every section."""

    plan: Plan
    routes: Mapping[str, Route]
    """By section id."""
    manifests: ManifestStore
    ledger: Ledger
    run_id: int | None
    """None: the plan was never applied with this ledger."""
    level: Depth
    tools: Tools
    sample: int | None = None
    """At the deeper levels, check only this many objects of each section, chosen by the hash of their key."""
    parallel_listing: int = 4
    on_progress: Callable[[Looked], None] = ignore_progress
    """Called in the calling thread; the record goes on changing."""
    _looked: Looked = field(default_factory=Looked)

    def run(self, report: Report) -> Tallies:
        """Each finding goes to *report* once, in the calling thread.

        Raises StoreErrors of the listings, run-wide StoreErrors, IntegrityRefused, Stopped.
        """
        tallies = Tallies(sampled=self.sample is not None and self.level is not Depth.LISTING)
        for risk in self.plan.risks:
            if risk.id == VERSION_ORDER:
                report(Mismatch("", MismatchKind.ORDER_UNKNOWN, "", "", risk.text))
        for route in self.routes.values():
            section = route.section
            lines = Expectations(self.plan, section, self.manifests, ledger=self.ledger, run_id=self.run_id)
            for entry in lines.left_alone(NOT_MOVED):
                action = entry.action
                tallies.not_migrated[action] = tallies.not_migrated.get(action, 0) + 1
                why = f"{action}: {entry.reason}" if entry.reason else str(action)
                report(Mismatch(section.id, MismatchKind.NOT_MIGRATED, entry.key, entry.target, why))
            told: set[str] = set()
            for finding in self._accounting(route, lines):
                tallies.add(finding)
                told.add(finding.target)
                report(finding)
            if self.level is Depth.LISTING:
                tallies.planned += sum(b.objects for b in self.plan.batches if b.section == section.id)
                continue
            for proven in self._objects(route, lines, told, tallies=tallies):
                if self._looked.count_object():
                    self.on_progress(self._looked)
                if proven is None:
                    tallies.proven += 1
                else:
                    tallies.add(proven)
                    if proven.verdict is not MismatchKind.ARCHIVED:
                        told.add(proven.target)
                    report(proven)
        return tallies

    def _accounting(self, route: Route, lines: Expectations) -> Iterator[Mismatch]:
        if self.plan.policy.versions == "all":
            yield from version_findings(route, lines)
            return
        section, parallel = route.section, self.parallel_listing
        believe = believed(route.source_facts)
        listing = route.source.list_objects(section.source.prefix, parallel=parallel, believe=believe)
        yield from source_findings(section.id, self._counted(listing), lines.by_source())
        believe = believed(route.destination_facts)
        listing = route.destination.list_objects(section.destination.prefix, parallel=parallel, believe=believe)
        yield from destination_findings(section.id, self._counted(listing), lines.by_target())

    def _counted(self, listing: Iterable[K]) -> Iterator[K]:
        for key in listing:
            if self._looked.count_key():
                self.on_progress(self._looked)
            yield key

    def _objects(
        self, route: Route, lines: Expectations, told: set[str], *, tallies: Tallies
    ) -> Iterator[Mismatch | None]:
        """Head (and read) the objects that the accounting found in their places.

        Yields None for each that is as it should be. *told*: targets that already have a finding.
        """

        def due() -> Iterator[Expected]:
            for line in lines.transfers():
                tallies.planned += 1
                moved = line.entry.action in WRITE_ACTIONS or line.entry.action is Action.DELETE_MARKER
                arrived = line.completion is not None and line.completion.outcome in ARRIVED
                if moved and arrived and line.entry.target not in told:
                    yield line

        chosen = due() if self.sample is None else iter(heapq.nsmallest(self.sample, due(), key=_place))
        prove = partial(_prove, ObjectProver(route, self.level, self.tools), EarlyStop())
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="verify") as pool:
            yield from _bounded(pool, prove, chosen, stop=self.tools.stop)


def _prove(prover: ObjectProver, early_stop: EarlyStop, line: Expected) -> Mismatch | None:
    """Raises run-wide errors, and what ends the run early."""
    entry, section = line.entry, prover.route.section.id
    proof = look_at(prover, early_stop, line)
    if isinstance(proof, StoreError):
        return Mismatch(section, MismatchKind.UNREADABLE, entry.key, entry.target, str(proof))
    if proof.differences:
        return Mismatch(section, MismatchKind.DIFFERENT, entry.key, entry.target, proof.text)
    return Mismatch(section, MismatchKind.ARCHIVED, entry.key, entry.target, proof.unread) if proof.unread else None


def look_at(prover: ObjectProver, early_stop: EarlyStop, line: Expected) -> Proof | StoreError:
    """What was found of one object, or why it cannot be read. Raises run-wide errors, and what ends the run early."""
    try:
        proof = prover.prove(line.entry, line.completion)
    except StoreError as error:
        if error.scope is Scope.RUN:
            raise
        ending = early_stop.ending(error, prover.route)
        if ending is not None:
            raise ending from error
        return error
    early_stop.succeeded()
    return proof


def _place(line: Expected) -> bytes:
    """Where a line falls in the sample: by its key's hash, so that the same keys are chosen each time."""
    return hashlib.sha256(b"verify\0" + line.entry.target.encode("utf-8", "surrogatepass")).digest()


def _bounded(
    pool: ThreadPoolExecutor,
    prove: Callable[[Expected], Mismatch | None],
    lines: Iterator[Expected],
    *,
    stop: Stop,
) -> Iterator[Mismatch | None]:
    """Results as they come, with at most four times AT_ONCE lines in hand."""
    running: set[Future[Mismatch | None]] = set()
    try:
        for line in lines:
            if stop.draining:
                raise stopped_reading("verify")
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
