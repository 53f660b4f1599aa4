"""The hot path: what workers did becomes durable, fenced, in one transaction per flush.

The order of row locks is the same everywhere: chunks by number, batches by number, stages by number, the run.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import psycopg2.extensions
from psycopg2.errors import CheckViolation, UniqueViolation
from psycopg2.extras import execute_values

from executor.ledger.advance import finish_chunks
from executor.ledger.database import Database, raw
from executor.ledger.leases import HELD
from executor.ledger.values import Chunk, ChunkKind, ChunkReport, Completion, Failure, Outcome, Verdict, Worker

OUTCOMES = len(Outcome)
UNSAFE = re.compile(r"[\\\t\n\r\0]")
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\\\0"})
"""For COPY's text form. PostgreSQL's text cannot hold NUL: it is spelled as a backslash and a zero."""
NULL = "\\N"
MESSAGE_MAX = 2000
"""Characters of an error's message that are kept."""

FENCE = f"""
    WITH given (chunk_no, token, lease_id, done, bad, bytes, outcomes) AS (VALUES %s),
    held AS (
        SELECT k.chunk_no, k.token FROM ledger.chunk k JOIN ledger.run r ON r.run_id = k.run_id
          JOIN given g ON g.chunk_no = k.chunk_no AND g.token = k.token AND g.lease_id = k.lease_id
         WHERE k.run_id = {{run_id}} AND {HELD}
         ORDER BY k.chunk_no FOR NO KEY UPDATE OF k)
    UPDATE ledger.chunk k
       SET n_done = k.n_done + g.done, n_bad = k.n_bad + g.bad, bytes_done = k.bytes_done + g.bytes,
           lease_until = now() + {{lease_seconds}} * interval '1 second',
           outcomes = CASE WHEN g.outcomes IS NULL THEN k.outcomes ELSE ARRAY[
               {", ".join(f"k.outcomes[{n}] + g.outcomes[{n}]" for n in range(1, OUTCOMES + 1))}] END
      FROM given g JOIN held h ON h.chunk_no = g.chunk_no AND h.token = g.token
     WHERE k.run_id = {{run_id}} AND k.chunk_no = g.chunk_no
    RETURNING k.chunk_no, k.token"""  # noqa: S608
FENCE_ROW = "(%s, %s, %s::uuid, %s, %s, %s::bigint, %s::int[])"
COMPLETION_COLUMNS = (
    "size, run_id, batch_no, ord, token, outcome, attempts, destination_etag, checksum, destination_version"
)


class Claimed(NamedTuple):
    """One claim of one chunk; what a report is filed under."""

    chunk_no: int
    token: int
    lease_id: UUID


class Filing:
    """Everything reported under one claim in one flush."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.completions: list[Completion] = []
        self.failures: list[Failure] = []
        self.verdicts: list[Verdict] = []
        self.finished = False

    def fence_row(self) -> tuple[int, int, str, int, int, int, str | None]:
        """What the fenced UPDATE adds to the chunk's counters."""
        bad = sum(failure.terminal for failure in self.failures) + sum(not verdict.ok for verdict in self.verdicts)
        done = len(self.completions) + sum(verdict.ok for verdict in self.verdicts)
        moved, outcomes = 0, None
        if self.completions:
            counts = [0] * OUTCOMES
            for row in self.completions:
                moved += row.size
                counts[row.outcome - 1] += 1
            outcomes = "{" + ",".join(map(str, counts)) + "}"
        return self.chunk.chunk_no, self.chunk.token, str(self.chunk.lease_id), done, bad, moved, outcomes


def flush(
    database: Database, worker: Worker, reports: Sequence[ChunkReport], *, lease_seconds: float
) -> frozenset[int]:
    """Make *reports* durable, all of them or none; the chunk_nos whose lease was lost, nothing of which is written.

    The same reports may be sent again when the answer was lost (LedgerUnavailable): what is recorded already is
    recognised by its key and neither written nor counted twice. Leases of the reported chunks are prolonged.
    ValueError: a report says `finished`, but objects of its chunk are neither completed nor failed.
    """
    filings = _filed(reports)
    if not filings:
        return frozenset()
    try:
        return _write(database, worker, filings, lease_seconds)
    except (UniqueViolation, CheckViolation):
        _drop_recorded(database, worker.run_id, filings.values())
        return _write(database, worker, filings, lease_seconds)


def _filed(reports: Iterable[ChunkReport]) -> dict[Claimed, Filing]:
    filings: dict[Claimed, Filing] = {}
    for report in reports:
        claimed = Claimed(report.chunk.chunk_no, report.chunk.token, report.chunk.lease_id)
        filing = filings.setdefault(claimed, Filing(report.chunk))
        filing.completions += report.completions
        filing.failures += report.failures
        filing.verdicts += report.verdicts
        filing.finished |= report.finished
    return filings


def _write(database: Database, worker: Worker, filings: dict[Claimed, Filing], lease_seconds: float) -> frozenset[int]:
    with database.transaction() as connection:
        with raw(connection).cursor() as cursor:
            kept = _fenced(cursor, worker.run_id, filings.values(), lease_seconds)
            alive = [filing for claimed, filing in filings.items() if (claimed.chunk_no, claimed.token) in kept]
            _copy_completions(cursor, worker.run_id, alive)
            _insert_failures(cursor, worker, alive)
            _insert_verdicts(cursor, worker.run_id, alive)
            finished = [filing.chunk for filing in alive if filing.finished]
            lost = [claimed for claimed in filings if (claimed.chunk_no, claimed.token) not in kept]
            lost_unfinished = frozenset(c.chunk_no for c in lost) - _finished_before(cursor, worker.run_id, lost)
        if finished:
            finish_chunks(connection, worker.run_id, finished)
    return lost_unfinished


def _fenced(
    cursor: psycopg2.extensions.cursor, run_id: int, filings: Iterable[Filing], lease_seconds: float
) -> set[tuple[int, int]]:
    """Count and prolong where the lease holds; (chunk_no, token) of those. Locks the chunks until the commit."""
    statement = FENCE.format(run_id=int(run_id), lease_seconds=float(lease_seconds))
    rows = [filing.fence_row() for filing in filings]
    return set(execute_values(cursor, statement, rows, template=FENCE_ROW, page_size=len(rows), fetch=True))


def _finished_before(cursor: psycopg2.extensions.cursor, run_id: int, claims: Sequence[Claimed]) -> set[int]:
    """Of *claims* that no longer hold: those that this very claim has finished, in a flush whose answer was lost."""
    if not claims:
        return set()
    cursor.execute(
        "SELECT chunk_no, token, lease_id::text FROM ledger.chunk"
        " WHERE run_id = %s AND chunk_no = ANY(%s) AND state IN (3, 4)",
        (run_id, [claimed.chunk_no for claimed in claims]),
    )
    ended = {tuple(row) for row in cursor.fetchall()}
    return {c.chunk_no for c in claims if (c.chunk_no, c.token, str(c.lease_id)) in ended}


def _copy_completions(cursor: psycopg2.extensions.cursor, run_id: int, filings: Iterable[Filing]) -> None:
    lines = []
    for filing in filings:
        prefix, token = f"\t{run_id}\t", filing.chunk.token
        for batch_no, ord_, outcome, attempts, size, etag, checksum, version in filing.completions:
            lines.append(
                f"{size}{prefix}{batch_no}\t{ord_}\t{token}\t{outcome:d}\t{attempts}\t"
                f"{etag.translate(ESCAPES) if UNSAFE.search(etag) else etag}\t\\\\x{checksum.hex()}\t"
                f"{NULL if version is None else version.translate(ESCAPES)}\n"
            )
    if lines:
        cursor.copy_expert(
            f"COPY ledger.completion_r{int(run_id)} ({COMPLETION_COLUMNS}) FROM STDIN",
            io.BytesIO("".join(lines).encode(errors="backslashreplace")),
        )


def _insert_failures(cursor: psycopg2.extensions.cursor, worker: Worker, filings: Iterable[Filing]) -> None:
    rows = [
        (
            *(worker.run_id, failure.batch_no, failure.ord, filing.chunk.token, int(filing.chunk.kind)),
            *(failure.attempt, failure.terminal, worker.worker_id, failure.http_status),
            *(storable(failure.error_code), storable(failure.message), storable(failure.request_id)),
        )
        for filing in filings
        for failure in filing.failures
    ]
    if rows:
        execute_values(
            cursor,
            "INSERT INTO ledger.failure (run_id, batch_no, ord, token, kind, attempt, terminal, worker_id,"
            " http_status, error_code, message, request_id) VALUES %s",
            rows,
            page_size=1000,
        )


def _insert_verdicts(cursor: psycopg2.extensions.cursor, run_id: int, filings: Iterable[Filing]) -> None:
    rows = [
        (run_id, filing.chunk.batch_no, verdict.ord, filing.chunk.token, verdict.ok, storable(verdict.detail))
        for filing in filings
        for verdict in filing.verdicts
    ]
    if rows:
        execute_values(
            cursor,
            "INSERT INTO ledger.verification (run_id, batch_no, ord, token, ok, detail) VALUES %s",
            rows,
            page_size=1000,
        )


def storable(words: str) -> str:
    """*words* as PostgreSQL can hold it: no NUL, no lone surrogates, and no more than MESSAGE_MAX characters."""
    return words[:MESSAGE_MAX].replace("\0", "\\0").encode(errors="backslashreplace").decode()


def _drop_recorded(database: Database, run_id: int, filings: Iterable[Filing]) -> None:
    """Take out of *filings* what an earlier flush has written: its answer was lost, or another claim was faster."""
    with database.transaction() as connection, raw(connection).cursor() as cursor:
        for filing in filings:
            chunk = filing.chunk
            where = (run_id, chunk.batch_no, chunk.lo, chunk.hi)
            if chunk.kind is ChunkKind.OBJECTS:
                cursor.execute(
                    "SELECT ord FROM ledger.completion WHERE run_id = %s AND batch_no = %s AND ord >= %s AND ord < %s",
                    where,
                )
                ords = {row[0] for row in cursor.fetchall()}
                filing.completions = [row for row in filing.completions if row.ord not in ords]
            else:
                cursor.execute(
                    "SELECT ord FROM ledger.verification WHERE run_id = %s AND batch_no = %s AND ord >= %s AND ord < %s"
                    " AND (ok OR token = %s)",
                    (*where, chunk.token),
                )
                ords = {row[0] for row in cursor.fetchall()}
                filing.verdicts = [verdict for verdict in filing.verdicts if verdict.ord not in ords]
            cursor.execute(
                "SELECT ord, attempt FROM ledger.failure WHERE run_id = %s AND batch_no = %s AND ord >= %s AND ord < %s"
                " AND kind = %s AND token = %s",
                (*where, int(chunk.kind), chunk.token),
            )
            attempts = set(cursor.fetchall())
            filing.failures = [row for row in filing.failures if (row.ord, row.attempt) not in attempts]
