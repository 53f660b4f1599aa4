"""What can be certified of a run's destination, key by key: the leaves of a certificate, and why a key is not one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

from executor.carry.integrity import full_object_checksum, md5_of_etag
from executor.copy.job import Tools
from executor.early_stop import EarlyStop
from executor.ledger.ledger import Ledger
from executor.ledger.values import UNFINISHED, Completion, Outcome, Run, RunState
from executor.route import Route
from executor.stop import stopped_reading
from executor.verify.expectation import Expectations, Expected
from executor.verify.history import LAID, version_findings
from executor.verify.listing import Mismatch, MismatchKind, destination_findings
from executor.verify.objects import Depth, ObjectProver, Proof
from executor.verify.run import AT_ONCE, look_at
from schema import checksums
from schema.attributes.headers import SYSTEM_HEADERS
from schema.errors import LedgerSchemaError, RunUnfinished, StalePlan, StoreError
from schema.files.certificate import Arrival, EvidenceLevel, Leaf, NotCertified
from schema.files.manifest import ManifestStore
from schema.formats.canonical import canonical_json, sha256_of
from schema.formats.quantities import counted_text
from schema.objects import ObjectHead
from schema.plan import EQUAL_REASONS, HELD_MARKER, SAME_ETAG, WRITE_ACTIONS, Action, Entry, Plan, Section
from storage.port import believed

DEEPER: Final = {EvidenceLevel.HEAD: Depth.HEAD, EvidenceLevel.CONTENT: Depth.CONTENT}
REASONS_KNOWN: Final = 100_000
"""Failures whose reasons are held in memory; further ones are reported without."""
LEFT_ALONE: Final = "left-alone"
NOT_DELETED: Final = "not-deleted"
WRONG: Final = frozenset(
    kind.value
    for kind in (MismatchKind.DIFFERENT, MismatchKind.MISSING, MismatchKind.UNACCOUNTED, MismatchKind.UNREADABLE)
) | {NOT_DELETED}
"""Kinds of uncertified keys that mean: the destination is not as the ledger has it."""
UNDONE: Final = frozenset({MismatchKind.NOT_COPIED.value, MismatchKind.DRIFTED.value})
"""Kinds that mean: the run has not moved it."""
_SHOWN: Final = (*SYSTEM_HEADERS, "x-amz-website-redirect-location")


def require_ended(ledger: Ledger, run: Run) -> None:
    """Raises RunUnfinished or StalePlan where a certificate would speak of what may still change, and
    LedgerSchemaError where the ledger's rows were altered. Reads every row."""
    if run.state in UNFINISHED:
        progress = ledger.reports.progress(run.run_id)
        raise RunUnfinished(
            f"run {run.run_id} is {run.state.name.lower()}: {progress.done:,} of "
            f"{counted_text(progress.objects, 'object')} have finished. Apply its plan until the run ends, then "
            "certify"
        )
    if run.state is RunState.SUPERSEDED:
        raise StalePlan(f"run {run.run_id} was superseded by a newer plan of its lineage; certify that plan's run")
    complaints = ledger.checks.contradictions(run.run_id)
    if complaints:
        raise LedgerSchemaError("the ledger was altered, so nothing is certified:\n" + "\n".join(complaints))


def metadata_digest(head: ObjectHead) -> str:
    """'sha256:...' over the canonical JSON of what *head* shows of the six system headers, the website redirect and
    user metadata: names in lower case, values decoded as latin-1. Tags, ACL and lock are not in it."""
    shown = {name: head.headers[name] for name in _SHOWN if head.headers.get(name)}
    shown |= {f"x-amz-meta-{name}": value for name, value in head.user_metadata().items()}
    return sha256_of(canonical_json(shown))


class _Candidate(NamedTuple):
    """An object that may be certified if its head and bytes confirm it."""

    line: Expected
    leaf: Leaf


@dataclass(frozen=True, slots=True)
class Certification:
    """One look at what a run left at its destinations, as deep as *level* says."""

    plan: Plan
    routes: Mapping[str, Route]
    """By section id; none are needed for EvidenceLevel.RECORDED."""
    manifests: ManifestStore
    ledger: Ledger
    run_id: int
    level: EvidenceLevel
    tools: Tools
    parallel_listing: int = 4

    def records(self, section: Section) -> Iterator[Leaf | NotCertified]:
        """Every key of *section*, ascending by the destination's key. Memory does not grow with their number.

        Deletes that were carried out are neither. Raises StoreErrors of the listing, run-wide StoreErrors,
        IntegrityRefused, Stopped.
        """
        candidates = self._candidates(section)
        if self.level not in DEEPER:
            for found in candidates:
                yield found if isinstance(found, NotCertified) else found.leaf
            return
        yield from self._looked_at(self.routes[section.id], candidates)

    def _candidates(self, section: Section) -> Iterator[_Candidate | NotCertified]:
        failures = self.ledger.reports.failures(self.run_id, REASONS_KNOWN)
        reasons = {(f.batch_no, f.ord): f"{f.error_code}: {f.message}" for f in failures}
        listed = self.level is not EvidenceLevel.RECORDED
        for line, finding in _paired(self._lines(section).by_target(), self._findings(section)):
            if line is None:
                if finding is not None:
                    yield NotCertified(finding.target, "", finding.verdict.value, finding.detail)
                continue
            said = _by_ledger(line, reasons)
            if isinstance(said, NotCertified):
                yield said
            elif finding is not None:
                yield _not(line.entry, finding.verdict.value, finding.detail)
            elif said is not None:
                yield _Candidate(line, said._replace(evidence=EvidenceLevel.LISTED) if listed else said)

    def _lines(self, section: Section) -> Expectations:
        return Expectations(self.plan, section, self.manifests, ledger=self.ledger, run_id=self.run_id)

    def _findings(self, section: Section) -> Iterator[Mismatch]:
        """What the destination's listing says against plan and ledger, ascending by the destination's key."""
        if self.level is EvidenceLevel.RECORDED:
            return iter(())
        route, lines = self.routes[section.id], self._lines(section)
        if self.plan.policy.versions == "all":
            return version_findings(route, lines)
        believe = believed(route.destination_facts)
        prefix = section.destination.prefix
        listing = route.destination.list_objects(prefix, parallel=self.parallel_listing, believe=believe)
        return destination_findings(section.id, listing, lines.by_target())

    def _looked_at(
        self, route: Route, candidates: Iterable[_Candidate | NotCertified]
    ) -> Iterator[Leaf | NotCertified]:
        """Many objects are looked at together; the order stays."""
        prover, early_stop = ObjectProver(route, DEEPER[self.level], self.tools), EarlyStop()
        waiting: deque[NotCertified | Future[Leaf | NotCertified]] = deque()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="certify") as pool:
            try:
                for candidate in candidates:
                    if self.tools.stop.draining:
                        raise stopped_reading("certify")
                    if isinstance(candidate, NotCertified):
                        waiting.append(candidate)
                    else:
                        waiting.append(pool.submit(_look, prover, early_stop, candidate))
                    if len(waiting) >= 4 * AT_ONCE:
                        yield _result(waiting.popleft())
                while waiting:
                    yield _result(waiting.popleft())
            finally:
                for future in waiting:
                    if isinstance(future, Future):
                        future.cancel()


def _result(found: NotCertified | Future[Leaf | NotCertified]) -> Leaf | NotCertified:
    return found.result() if isinstance(found, Future) else found


def _paired(
    lines: Iterator[Expected], findings: Iterator[Mismatch]
) -> Iterator[tuple[Expected | None, Mismatch | None]]:
    """Every line with what was found of its key, and every finding of a key without lines; both ascend by key."""
    finding = next(findings, None)
    for key, group in groupby(lines, key=lambda line: line.entry.target):
        while finding is not None and finding.target < key:
            yield None, finding
            finding = next(findings, None)
        found = None
        while finding is not None and finding.target == key:
            found, finding = found or finding, next(findings, None)
        for line in group:
            yield line, found
    while finding is not None:
        yield None, finding
        finding = next(findings, None)


def _by_ledger(line: Expected, reasons: Mapping[tuple[int, int], str]) -> Leaf | NotCertified | None:
    """What plan and ledger say of a line; None: they say that nothing is there."""
    entry, row = line.entry, line.completion
    if entry.action is Action.SKIP:
        if entry.reason not in EQUAL_REASONS:
            return _not(entry, LEFT_ALONE, entry.reason)
        return None if entry.reason == HELD_MARKER else _skipped(entry)
    if entry.action not in WRITE_ACTIONS and entry.action not in (Action.DELETE, Action.DELETE_MARKER):
        return _not(entry, entry.action.value, entry.reason)
    if row is None:
        reason = reasons.get((line.batch_no, line.ord), "the ledger has no completion for it")
        kind = NOT_DELETED if entry.action is Action.DELETE else MismatchKind.NOT_COPIED.value
        return _not(entry, kind, reason)
    if entry.action is Action.DELETE and row.outcome is Outcome.DELETED:
        return None
    if row.outcome not in LAID:
        return _not(entry, MismatchKind.DRIFTED.value, row.outcome.name.lower().replace("_", " "))
    return _arrived(entry, row)


def _not(entry: Entry, kind: str, detail: str) -> NotCertified:
    only_there = entry.action in (Action.EXTRANEOUS, Action.DELETE)
    return NotCertified(entry.target, "" if only_there else entry.key, kind, detail)


def _skipped(entry: Entry) -> Leaf:
    """Equal ETags that look like an MD5 are MD5s; any other ETag says nothing about the bytes."""
    etag = entry.etag if entry.destination_etag is None else entry.destination_etag
    digest = f"md5:{etag}" if entry.reason == SAME_ETAG and md5_of_etag(etag) else None
    evidence, arrival = EvidenceLevel.RECORDED, Arrival.SKIPPED
    return _leaf(entry, None, digest=digest)._replace(evidence=evidence, arrival=arrival, etag=etag)


def _arrived(entry: Entry, row: Completion) -> Leaf:
    digest = f"crc64nvme:{checksums.text_of(row.checksum)}" if row.checksum else None
    if row.outcome is Outcome.MARKER_LAID:
        arrival = Arrival.DELETE_MARKER
    else:
        arrival = Arrival.COPIED if row.outcome is Outcome.COPIED else Arrival.ALREADY_THERE
    leaf = _leaf(entry, row.destination_version, digest=digest)
    return leaf._replace(arrival=arrival, etag=row.destination_etag)


def _leaf(entry: Entry, version: str | None, *, digest: str | None) -> Leaf:
    return Leaf(
        key=entry.target,
        version=version,
        size=entry.size,
        digest=digest,
        metadata=None,
        evidence=EvidenceLevel.RECORDED,
        etag="",
        arrival=Arrival.COPIED,
        source=entry.key,
        source_etag=entry.etag,
        source_version=entry.version_id,
    )


def _look(prover: ObjectProver, early_stop: EarlyStop, candidate: _Candidate) -> Leaf | NotCertified:
    """Raises run-wide errors, and what ends the run early."""
    line, leaf = candidate
    proof = look_at(prover, early_stop, line)
    if isinstance(proof, StoreError):
        return _not(line.entry, MismatchKind.UNREADABLE.value, str(proof))
    if proof.differences:
        return _not(line.entry, MismatchKind.DIFFERENT.value, proof.text)
    return _deepened(leaf, proof)


def _deepened(leaf: Leaf, proof: Proof) -> Leaf:
    """*leaf* with what its head and its bytes have shown."""
    if proof.there is None:
        return leaf._replace(evidence=EvidenceLevel.HEAD)
    digest = leaf.digest
    if proof.crc is not None:
        digest = f"crc64nvme:{checksums.crc_text(proof.crc)}"
    elif digest is None and (told := full_object_checksum(proof.there.headers)) is not None:
        digest = f"{told[0].value}:{told[1]}"
    return leaf._replace(
        digest=digest,
        metadata=metadata_digest(proof.there),
        evidence=EvidenceLevel.HEAD if proof.crc is None else EvidenceLevel.CONTENT,
        etag=proof.there.etag or leaf.etag,
    )
