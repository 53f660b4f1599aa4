"""The hot path: what workers did becomes durable, fenced, in one transaction per flush.

The order of row locks is the same everywhere: chunks by number, batches by number, stages by number, the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from psycopg2.errors import CheckViolation, UniqueViolation

from executor.ledger import audit
from executor.ledger.advance import Advance
from executor.ledger.audit import Event
from executor.ledger.database import Database, Transaction
from executor.ledger.leases import fence, require_lease
from executor.ledger.sql import FENCED, FINISHED
from executor.ledger.values import Chunk, ChunkKind, ChunkReport, Completion, Failure, Outcome, Verification, Worker

OUTCOMES = len(Outcome)
UNSAFE = re.compile(r"[\\\t\n\r\0]")
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\\\0"})
"""For COPY's text form. PostgreSQL's text cannot hold NUL: it is spelled as a backslash and a zero."""
NULL = "\\N"
MESSAGE_MAX = 2000
"""Characters of an error's message that are kept."""

COUNT_WHERE_HELD = f"""
    WITH held AS ({FENCED}),
    given AS (
        SELECT chunk_no, token, done, bad, own, bytes, CAST(outcomes AS int[]) AS outcomes
          FROM unnest(CAST(:numbers AS int[]), CAST(:tokens AS int[]), CAST(:done AS int[]), CAST(:bad AS int[]),
                      CAST(:own AS int[]), CAST(:bytes AS bigint[]), CAST(:outcomes AS text[]))
               AS added (chunk_no, token, done, bad, own, bytes, outcomes))
    UPDATE ledger.chunk k
       SET n_done = k.n_done + g.done, n_bad = k.n_bad + g.bad, n_own = k.n_own + g.own,
           bytes_done = k.bytes_done + g.bytes,
           lease_until = now() + make_interval(secs => :seconds),
           outcomes = CASE WHEN g.outcomes IS NULL THEN k.outcomes ELSE ARRAY[
               {", ".join(f"k.outcomes[{n}] + g.outcomes[{n}]" for n in range(1, OUTCOMES + 1))}] END
      FROM given g JOIN held h ON h.chunk_no = g.chunk_no AND h.token = g.token
     WHERE k.run_id = :run_id AND k.chunk_no = g.chunk_no
    RETURNING k.chunk_no, k.token"""
COMPLETION_COLUMNS = (
    "size, run_id, batch_no, ord, token, outcome, attempts, destination_etag, checksum, destination_version"
)
"""In the order of `_copy_completions`' lines."""
OF_OBJECT = "run_id = :run_id AND batch_no = :batch_no AND ord = :ord"
IN_CHUNK = "run_id = :run_id AND batch_no = :batch_no AND ord >= :lo AND ord < :hi"


class Checkpoints:
    """The result of every object, durable on return."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def flush(self, worker: Worker, reports: Sequence[ChunkReport], *, lease_seconds: float) -> frozenset[int]:
        """Make *reports* durable, all of them or none, and extend the leases of their chunks.

        Returns the chunk_nos whose lease was lost, nothing of which is written. `finished` closes the chunk (done, or
        parked when objects failed), and with it what follows: the batch's state, dependants, the run's end, the audit
        event. The same reports may be sent again when the answer was lost (LedgerUnavailable): rows already recorded
        are recognised by their key and neither written nor counted twice. ValueError: a finished chunk has objects that
        are neither completed nor failed.
        """
        filings = _filed(reports)
        if not filings:
            return frozenset()
        try:
            return self._write(worker, filings, lease_seconds)
        except (UniqueViolation, CheckViolation):
            with self._database.transaction() as transaction:
                for filing in filings.values():
                    filing.drop_recorded(transaction)
            return self._write(worker, filings, lease_seconds)

    def _write(self, worker: Worker, filings: dict[Claimed, Filing], lease_seconds: float) -> frozenset[int]:
        with self._database.transaction() as transaction:
            kept = _count_where_held(transaction, worker.run_id, filings.values(), lease_seconds=lease_seconds)
            alive = [filing for claimed, filing in filings.items() if (claimed.chunk_no, claimed.token) in kept]
            _copy_completions(transaction, worker.run_id, alive)
            _insert_failures(transaction, worker, alive)
            _insert_verifications(transaction, worker.run_id, alive)
            rewritten = _replace_completions(transaction, worker.run_id, alive)
            finished = [filing.chunk for filing in alive if filing.finished]
            lost = [claimed for claimed in filings if (claimed.chunk_no, claimed.token) not in kept]
            lost_unfinished = frozenset(c.chunk_no for c in lost) - _finished_before(transaction, worker.run_id, lost)
            if finished:
                Advance(transaction, worker.run_id, rewritten).finish(finished)
            else:
                for event in rewritten:
                    audit.append(transaction, worker.run_id, event)
        return lost_unfinished

    def recorded(self, chunk: Chunk) -> frozenset[int]:
        """The ords of *chunk* that earlier claims have finished: completed, or verified."""
        rows = "ledger.verification WHERE ok AND" if chunk.kind is ChunkKind.VERIFY else "ledger.completion WHERE"
        with self._database.transaction() as transaction:
            return frozenset(transaction.column(f"SELECT ord FROM {rows} {IN_CHUNK}", **_place(chunk)))

    def record_intent(self, chunk: Chunk, ord: int, what: str) -> None:
        """Record the intent to do something to an object that cannot be undone. Raises LeaseLost."""
        with self._database.transaction() as transaction:
            require_lease(transaction, chunk)
            transaction.run("SET LOCAL synchronous_commit = on")
            transaction.run(
                "INSERT INTO ledger.intent (run_id, batch_no, ord, token, what)"
                " VALUES (:run_id, :batch_no, :ord, :token, :what)",
                run_id=chunk.run_id,
                batch_no=chunk.batch_no,
                ord=ord,
                token=chunk.token,
                what=storable(what),
            )


class Claimed(NamedTuple):
    """One claim of one chunk; what a report is filed under."""

    chunk_no: int
    token: int
    lease_id: UUID


class Added(NamedTuple):
    """What a flush adds to the counters of one chunk."""

    done: int
    bad: int
    own: int
    """Of the bad ones: by their own fault."""
    bytes: int
    outcomes: str | None
    """An array of PostgreSQL's, one number for each Outcome; None: nothing to add."""


class Filing:
    """Everything reported under one claim in one flush."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.completions: list[Completion] = []
        self.failures: list[Failure] = []
        self.verifications: list[Verification] = []
        self.finished = False

    def added(self) -> Added:
        """What the fenced UPDATE adds to the chunk's counters."""
        bad = sum(failure.terminal for failure in self.failures) + sum(not found.ok for found in self.verifications)
        own = sum(failure.terminal and failure.own for failure in self.failures)
        own += sum(found.own and not found.ok for found in self.verifications)
        done = len(self.completions) + sum(found.ok for found in self.verifications)
        moved, outcomes = 0, None
        if self.completions:
            counts = [0] * OUTCOMES
            for row in self.completions:
                moved += row.size
                counts[row.outcome - 1] += 1
            outcomes = "{" + ",".join(map(str, counts)) + "}"
        return Added(done, bad, own, moved, outcomes)

    def drop_recorded(self, transaction: Transaction) -> None:
        """Drop rows that an earlier flush has written: its answer was lost, or another claim was faster."""
        place, token = _place(self.chunk), self.chunk.token
        if self.chunk.kind is ChunkKind.OBJECTS:
            ords = set(transaction.column(f"SELECT ord FROM ledger.completion WHERE {IN_CHUNK}", **place))
            self.completions = [row for row in self.completions if row.ord not in ords]
        else:
            query = f"SELECT ord FROM ledger.verification WHERE {IN_CHUNK} AND (ok OR token = :token)"
            ords = set(transaction.column(query, **place, token=token))
            self.verifications = [found for found in self.verifications if found.ord not in ords]
        query = f"SELECT ord, attempt FROM ledger.failure WHERE {IN_CHUNK} AND kind = :kind AND token = :token"
        attempts = {
            (row.ord, row.attempt) for row in transaction.rows(query, **place, kind=self.chunk.kind, token=token)
        }
        self.failures = [row for row in self.failures if (row.ord, row.attempt) not in attempts]


def storable(words: str) -> str:
    """*words* as PostgreSQL can hold it: no NUL, no lone surrogates, and no more than MESSAGE_MAX characters."""
    return words[:MESSAGE_MAX].replace("\0", "\\0").encode(errors="backslashreplace").decode()


def _place(chunk: Chunk) -> dict[str, int]:
    return {"run_id": chunk.run_id, "batch_no": chunk.batch_no, "lo": chunk.lo, "hi": chunk.hi}


def _filed(reports: Iterable[ChunkReport]) -> dict[Claimed, Filing]:
    filings: dict[Claimed, Filing] = {}
    for report in reports:
        claimed = Claimed(report.chunk.chunk_no, report.chunk.token, report.chunk.lease_id)
        filing = filings.setdefault(claimed, Filing(report.chunk))
        filing.completions += report.completions
        filing.failures += report.failures
        filing.verifications += report.verifications
        filing.finished |= report.finished
    return filings


def _count_where_held(
    transaction: Transaction, run_id: int, filings: Iterable[Filing], *, lease_seconds: float
) -> set[tuple[int, int]]:
    """Count and extend where the lease is still held. Returns (chunk_no, token) of those. Locks the chunks until the
    commit.
    """
    filings = list(filings)
    added = [filing.added() for filing in filings]
    rows = transaction.rows(
        COUNT_WHERE_HELD,
        **fence(run_id, [filing.chunk for filing in filings]),
        seconds=lease_seconds,
        done=[chunk.done for chunk in added],
        bad=[chunk.bad for chunk in added],
        own=[chunk.own for chunk in added],
        bytes=[chunk.bytes for chunk in added],
        outcomes=[chunk.outcomes for chunk in added],
    )
    return {(row.chunk_no, row.token) for row in rows}


def _finished_before(transaction: Transaction, run_id: int, claims: Sequence[Claimed]) -> set[int]:
    """Of *claims* no longer held: those that this same claim has finished, in a flush whose answer was lost."""
    if not claims:
        return set()
    rows = transaction.rows(
        f"""
        SELECT k.chunk_no, k.token, k.lease_id FROM ledger.chunk k
         WHERE k.run_id = :run_id AND k.chunk_no = ANY(:numbers) AND {FINISHED}""",
        run_id=run_id,
        numbers=[claimed.chunk_no for claimed in claims],
    )
    ended = {Claimed(*row) for row in rows}
    return {claimed.chunk_no for claimed in claims if claimed in ended}


def _copy_completions(transaction: Transaction, run_id: int, filings: Iterable[Filing]) -> None:
    lines = []
    for filing in filings:
        prefix, token = f"\t{run_id}\t", filing.chunk.token
        # By position and by hand: every object passes here. 400,000 rows/s of CPU; by the names of fields 160,000.
        for batch_no, ord_, outcome, attempts, size, etag, checksum, version in filing.completions:
            lines.append(
                f"{size}{prefix}{batch_no}\t{ord_}\t{token}\t{outcome:d}\t{attempts}\t"
                f"{etag.translate(ESCAPES) if UNSAFE.search(etag) else etag}\t\\\\x{checksum.hex()}\t"
                f"{NULL if version is None else version.translate(ESCAPES)}\n"
            )
    if lines:
        transaction.copy(f"completion_r{run_id:d}", COMPLETION_COLUMNS, "".join(lines))


def _replace_completions(transaction: Transaction, run_id: int, filings: Iterable[Filing]) -> list[Event]:
    """The completions of objects that were written again, and the digests of their chunks; an event for each.

    The only change that a completion ever sees; the audit chain keeps what it said before.
    """
    return [
        _replace_completion(transaction, run_id, filing.chunk.batch_no, new=found.rewritten)
        for filing in filings
        for found in filing.verifications
        if found.rewritten is not None
    ]


def _replace_completion(transaction: Transaction, run_id: int, batch_no: int, *, new: Completion) -> Event:
    place = {"run_id": run_id, "batch_no": batch_no, "ord": new.ord}
    old = transaction.one(f"SELECT destination_etag, checksum FROM ledger.completion WHERE {OF_OBJECT}", **place)
    transaction.run(
        "SELECT ledger.replace_completion(:run_id, :batch_no, :ord, :etag, :checksum, :version)",
        **place,
        etag=new.destination_etag,
        checksum=new.checksum,
        version=new.destination_version,
    )
    body = {"batch": batch_no, "ord": new.ord, "etag": new.destination_etag}
    body |= {"replaced_etag": old.destination_etag, "replaced_checksum": bytes(old.checksum).hex()}
    chunk = transaction.row(
        f"""
        UPDATE ledger.chunk k SET digest = ledger.completion_digest(k.run_id, k.batch_no, k.lo, k.hi)
         WHERE k.run_id = :run_id AND k.batch_no = :batch_no AND k.kind = {ChunkKind.OBJECTS:d}
           AND k.lo <= :ord AND :ord < k.hi AND {FINISHED}
        RETURNING k.chunk_no, k.digest""",
        **place,
    )
    if chunk is not None:
        body |= {"chunk": chunk.chunk_no, "digest": bytes(chunk.digest).hex()}
    return Event("object-rewritten", body)


def _insert_failures(transaction: Transaction, worker: Worker, filings: Iterable[Filing]) -> None:
    rows = [
        {
            **failure._asdict(),
            "run_id": worker.run_id,
            "token": filing.chunk.token,
            "kind": filing.chunk.kind,
            "worker_id": worker.worker_id,
            "error_code": storable(failure.error_code),
            "message": storable(failure.message),
            "request_id": storable(failure.request_id),
            "key": storable(failure.key),
        }
        for filing in filings
        for failure in filing.failures
    ]
    transaction.insert("failure", rows)


def _insert_verifications(transaction: Transaction, run_id: int, filings: Iterable[Filing]) -> None:
    rows = [
        {
            "run_id": run_id,
            "batch_no": filing.chunk.batch_no,
            "ord": found.ord,
            "token": filing.chunk.token,
            "ok": found.ok,
            "detail": storable(found.detail),
            "key": storable(found.key),
            "own": found.own,
        }
        for filing in filings
        for found in filing.verifications
    ]
    transaction.insert("verification", rows)
