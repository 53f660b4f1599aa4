"""Queries. Nothing here changes the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from executor.ledger.database import Database, Row, Transaction, by_name
from executor.ledger.runs import RUN_COLUMNS, limits_of, run_of
from executor.ledger.sql import OUTCOME_ARRIVED, TOUCHED, drifted_in, left_alone_in, one_of
from executor.ledger.uploads import find_upload
from executor.ledger.values import (
    DRIFTED,
    BatchState,
    Blamed,
    CellProgress,
    ChunkKind,
    ChunkState,
    Completion,
    EarlierCompletion,
    FailedObject,
    FailureReason,
    Outcome,
    PartRecord,
    ProcessRecord,
    Progress,
    Proofs,
    RunAccount,
    RunState,
    StageAccount,
    StageProgress,
    StageState,
    UploadRecord,
    UploadState,
)
from schema.plan import DELETES

OBJECTS = f"k.kind = {ChunkKind.OBJECTS:d}"
VERIFY = f"k.kind = {ChunkKind.VERIFY:d}"
LEASED = f"k.state = {ChunkState.LEASED:d}"
READY = f"k.state = {ChunkState.READY:d}"
UNPROVEN_BY_OWN_FAULT = f"""(
        SELECT count(*) FROM ledger.chunk k
          JOIN ledger.verification v ON v.run_id = k.run_id AND v.batch_no = k.batch_no
           AND v.ord >= k.lo AND v.ord < k.hi AND v.token = k.token AND v.own AND NOT v.ok
          JOIN ledger.completion c ON c.run_id = v.run_id AND c.batch_no = v.batch_no AND c.ord = v.ord
         WHERE k.run_id = :run_id AND {VERIFY} AND {TOUCHED} AND k.n_own > 0)"""
"""Of a VERIFY chunk's n_own the rest are objects that never arrived: their own chunk has counted them as failed."""

PROGRESS = f"""
    SELECT r.run_id, r.name, r.state, r.objects, r.bytes, r.created_at, r.finished_at, now() AS clock,
           b.done + c.done AS done, b.verified + c.verified AS verified, b.bytes_done + c.bytes_done AS bytes_done,
           c.failed, c.verify_failed, c.working, c.restoring, c.next_look, c.chunks_leased, c.chunks_parked,
           b.chunks_blocked - c.chunks_early AS chunks_blocked,
           r.chunks_left - c.chunks_leased - c.chunks_parked - b.chunks_blocked + c.chunks_early AS chunks_ready,
           {", ".join(f"b.{o.name.lower()} + c.{o.name.lower()} AS {o.name.lower()}" for o in Outcome)},
           (SELECT coalesce(sum(p.size), 0) FROM ledger.upload u JOIN ledger.upload_part p
               USING (run_id, batch_no, ord, upload_id)
             WHERE u.run_id = r.run_id AND u.state = {UploadState.OPEN:d}) AS bytes_in_parts,
           (SELECT count(*) FROM ledger.worker w WHERE w.run_id = r.run_id AND w.stopped_at IS NULL
               AND w.epoch = r.epoch AND w.last_seen > now() - interval '1 minute') AS workers
      FROM ledger.run r, LATERAL (
        SELECT coalesce(sum(b.n_done), 0) AS done, coalesce(sum(b.n_verified), 0) AS verified,
               coalesce(sum(b.bytes_done), 0) AS bytes_done,
               coalesce(sum(CASE WHEN b.state = {BatchState.BLOCKED:d} THEN b.copy_left ELSE 0 END
                          + CASE WHEN b.copy_left > 0 THEN b.verify_left ELSE 0 END), 0) AS chunks_blocked,
               {", ".join(f"coalesce(sum(b.outcomes[{o:d}]), 0) AS {o.name.lower()}" for o in Outcome)}
          FROM ledger.batch b WHERE b.run_id = r.run_id) b, LATERAL (
        SELECT coalesce(sum(k.n_done) FILTER (WHERE {OBJECTS}), 0) AS done,
               coalesce(sum(k.n_bad) FILTER (WHERE {OBJECTS}), 0) AS failed,
               coalesce(sum(k.n_done) FILTER (WHERE {VERIFY}), 0) AS verified,
               coalesce(sum(k.n_bad - k.n_own) FILTER (WHERE {VERIFY}), 0) + {UNPROVEN_BY_OWN_FAULT} AS verify_failed,
               count(DISTINCT k.worker_id) FILTER (WHERE {LEASED} AND k.lease_until > now()) AS working,
               coalesce(sum(greatest(k.hi - k.lo - k.n_done - k.n_bad, 0))
                   FILTER (WHERE {READY} AND k.not_before IS NOT NULL), 0) AS restoring,
               min(k.not_before) FILTER (WHERE {READY}) AS next_look,
               coalesce(sum(k.bytes_done), 0) AS bytes_done,
               count(*) FILTER (WHERE {LEASED}) AS chunks_leased,
               count(*) FILTER (WHERE k.state = {ChunkState.PARKED:d}) AS chunks_parked,
               count(*) FILTER (WHERE {VERIFY} AND k.state IN {one_of((ChunkState.LEASED, ChunkState.PARKED))}
                   AND EXISTS (SELECT 1 FROM ledger.batch e WHERE e.run_id = k.run_id AND e.batch_no = k.batch_no
                       AND e.copy_left > 0)) AS chunks_early,
               {", ".join(f"coalesce(sum(k.outcomes[{o:d}]), 0) AS {o.name.lower()}" for o in Outcome)}
          FROM ledger.chunk k WHERE k.run_id = r.run_id AND {TOUCHED}) c
     WHERE r.run_id = :run_id"""
"""Batches hold the sums of their finished chunks; to these come the few that are in hand, or were and are not done.

A chunk is blocked while its batch is, and a VERIFY chunk also until its batch is copied, unless it was let through.
"""

FAILURES = f"""
    WITH given_up AS (
        SELECT DISTINCT ON (f.batch_no, f.ord) f.batch_no, f.ord, f.http_status, f.error_code, f.message,
               f.request_id, f.at, f.key, f.own
          FROM ledger.failure f
         WHERE f.run_id = :run_id AND f.terminal
           AND NOT EXISTS (SELECT 1 FROM ledger.completion c WHERE f.kind = {ChunkKind.OBJECTS:d}
               AND c.run_id = f.run_id AND c.batch_no = f.batch_no AND c.ord = f.ord)
           AND NOT EXISTS (SELECT 1 FROM ledger.verification v WHERE f.kind = {ChunkKind.VERIFY:d} AND v.ok
               AND v.run_id = f.run_id AND v.batch_no = f.batch_no AND v.ord = f.ord)
         ORDER BY f.batch_no, f.ord, f.at DESC, f.token DESC, f.attempt DESC),
    different AS (
        SELECT DISTINCT ON (v.batch_no, v.ord) v.batch_no, v.ord, 0, 'VerifyMismatch', v.detail, '', v.at, v.key, false
          FROM ledger.verification v
         WHERE v.run_id = :run_id AND NOT v.ok
           AND EXISTS (SELECT 1 FROM ledger.completion c
               WHERE c.run_id = v.run_id AND c.batch_no = v.batch_no AND c.ord = v.ord)
           AND NOT EXISTS (SELECT 1 FROM ledger.verification w WHERE w.ok
               AND w.run_id = v.run_id AND w.batch_no = v.batch_no AND w.ord = v.ord)
         ORDER BY v.batch_no, v.ord, v.token DESC)
    SELECT x.batch_no, b.batch_id, x.ord, x.http_status, x.error_code, x.message, x.request_id, x.at, x.key, x.own
      FROM (SELECT * FROM given_up UNION ALL SELECT * FROM different) x
      JOIN ledger.batch b ON b.run_id = :run_id AND b.batch_no = x.batch_no
     ORDER BY x.batch_no, x.ord LIMIT :limit"""

BLAMED = f"""
    WITH failed AS ({FAILURES}),
    blamed AS (SELECT * FROM failed WHERE NOT own OR NOT EXISTS (SELECT FROM failed WHERE NOT own))
    SELECT b.*, count(*) OVER () AS objects, bool_or(b.http_status IN (401, 403)) OVER () AS refused,
           bool_or(b.error_code = 'VerifyMismatch') OVER () AS differs
      FROM blamed b ORDER BY b.batch_no, b.ord LIMIT :most"""

LEFT_ALONE = f"""
    SELECT DISTINCT ON (f.batch_no, f.ord) f.batch_no, b.batch_id, f.ord, f.http_status, f.error_code, f.message,
           f.request_id, f.at, f.key, f.own
      FROM ledger.failure f JOIN ledger.batch b ON b.run_id = f.run_id AND b.batch_no = f.batch_no
     WHERE f.run_id = :run_id AND {left_alone_in("f")}
       AND EXISTS (SELECT 1 FROM ledger.completion c WHERE c.run_id = f.run_id AND c.batch_no = f.batch_no
           AND c.ord = f.ord AND c.outcome IN {one_of(DRIFTED)})
     ORDER BY f.batch_no, f.ord, f.at DESC LIMIT :limit"""

PROCESSES_TOLD = 100
RUN = "SELECT tool_version, now() AS clock FROM ledger.run WHERE run_id = :run_id"
STAGE_ACCOUNTS = f"""
    SELECT s.stage_id, s.state, b.batches, b.objects, b.bytes, k.*
      FROM ledger.stage s,
           LATERAL (SELECT count(*) AS batches, coalesce(sum(b.objects), 0) AS objects,
                           coalesce(sum(b.bytes), 0) AS bytes
                      FROM ledger.batch b WHERE b.run_id = s.run_id AND b.stage_no = s.stage_no) b,
           LATERAL (SELECT coalesce(sum(k.bytes_done), 0) AS bytes_done, coalesce(sum(k.n_bad), 0) AS failed,
                           {", ".join(f"coalesce(sum(k.outcomes[{o:d}]), 0) AS {o.name.lower()}" for o in Outcome)}
                      FROM ledger.chunk k JOIN ledger.batch b ON b.run_id = k.run_id AND b.batch_no = k.batch_no
                     WHERE b.run_id = s.run_id AND b.stage_no = s.stage_no AND {OBJECTS}) k
     WHERE s.run_id = :run_id ORDER BY s.stage_no"""
FAILURE_REASONS = f"""
    SELECT f.error_code, max(f.http_status) AS http_status, count(*) AS objects, min(f.message) AS message,
           min(coalesce(nullif(f.key, ''), f.batch_id || ':' || f.ord)) AS example
      FROM ({FAILURES}) f GROUP BY f.error_code ORDER BY count(*) DESC, f.error_code"""
PROCESSES = f"""
    SELECT w.worker_id, w.host, w.pid, w.tool_version, w.started_at, w.stopped_at, w.exit_code
      FROM ledger.worker w WHERE w.run_id = :run_id ORDER BY w.worker_id DESC LIMIT {PROCESSES_TOLD:d}"""
PROOFS = f"""
    SELECT count(*) FILTER (WHERE {OUTCOME_ARRIVED}) AS arrived,
           count(*) FILTER (WHERE {OUTCOME_ARRIVED} AND length(c.checksum) > 0) AS checksummed,
           (SELECT coalesce(sum(k.n_done), 0) FROM ledger.chunk k WHERE k.run_id = :run_id AND {VERIFY}) AS verified,
           (SELECT coalesce(sum(k.n_bad - k.n_own), 0) + {UNPROVEN_BY_OWN_FAULT} FROM ledger.chunk k
             WHERE k.run_id = :run_id AND {VERIFY}) AS not_verified
      FROM ledger.completion c WHERE c.run_id = :run_id"""
COUNTS = """
    SELECT (SELECT count(*) FROM ledger.worker WHERE run_id = :run_id) AS processes,
           (SELECT count(*) FROM ledger.failure WHERE run_id = :run_id) AS attempts,
           (SELECT max(buffer_bytes) FROM ledger.flow_sample WHERE run_id = :run_id) AS buffer_bytes,
           (SELECT max(buffer_limit) FROM ledger.flow_sample WHERE run_id = :run_id) AS buffer_limit"""

FAILURE_COUNTS = f"""
    SELECT f.error_code, count(*) AS objects FROM ({FAILURES}) f GROUP BY 1 ORDER BY 2 DESC, 1"""

IN_HAND = f"""
    SELECT k.batch_no, sum(k.n_bad) AS bad, coalesce(sum(k.n_done) FILTER (WHERE {OBJECTS}), 0) AS done
      FROM ledger.chunk k WHERE k.run_id = :run_id AND {TOUCHED} GROUP BY 1"""
STAGES = f"""
    SELECT s.stage_id, s.state, coalesce(sum(b.objects), 0) AS objects,
           coalesce(sum(b.n_done + coalesce(c.done, 0)), 0) AS done, coalesce(sum(c.bad), 0) AS failed
      FROM ledger.stage s LEFT JOIN ledger.batch b ON b.run_id = s.run_id AND b.stage_no = s.stage_no
      LEFT JOIN ({IN_HAND}) c ON c.batch_no = b.batch_no
     WHERE s.run_id = :run_id GROUP BY s.stage_no, s.stage_id, s.state ORDER BY s.stage_no"""
CELLS = f"""
    SELECT x.cell, sum(x.objects) AS objects, sum(x.done) AS done, sum(x.bad) AS failed
      FROM (SELECT ntile(:cells) OVER (ORDER BY b.batch_no) AS cell, b.objects,
                   b.n_done + coalesce(c.done, 0) AS done, coalesce(c.bad, 0) AS bad
              FROM ledger.batch b LEFT JOIN ({IN_HAND}) c ON c.batch_no = b.batch_no
             WHERE b.run_id = :run_id) x GROUP BY 1 ORDER BY 1"""

OF_OBJECT = "WHERE run_id = :run_id AND batch_no = :batch_no AND ord = :ord"
EXPLAINED = {
    "chunks": """
        SELECT chunk_no, kind, lane, lo, hi, state, token, worker_id, lease_until, not_before, n_done, n_bad,
               n_own
          FROM ledger.chunk WHERE run_id = :run_id AND batch_no = :batch_no AND lo <= :ord AND hi > :ord
         ORDER BY kind""",
    "failures": f"SELECT * FROM ledger.failure {OF_OBJECT} ORDER BY at, token, attempt",
    "verifications": f"SELECT * FROM ledger.verification {OF_OBJECT} ORDER BY token",
    "intents": f"SELECT * FROM ledger.intent {OF_OBJECT} ORDER BY at",
}


class Reports:
    """What is durable now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def progress(self, run_id: int) -> Progress:
        """How far the run has come. Raises KeyError for an unknown run."""
        with self._database.transaction() as transaction:
            row = transaction.row(PROGRESS, run_id=run_id)
            limits = limits_of(transaction, run_id)
        if row is None:
            raise KeyError(run_id)
        return Progress(
            run_id=run_id,
            name=row.name,
            state=RunState(row.state),
            objects=row.objects,
            bytes=row.bytes,
            done=int(row.done),
            failed=int(row.failed),
            bytes_done=int(row.bytes_done),
            leased=row.chunks_leased,
            ready=row.chunks_ready,
            blocked=row.chunks_blocked,
            parked=row.chunks_parked,
            by_outcome={outcome: int(by_name(row)[outcome.name.lower()]) for outcome in Outcome},
            verified=int(row.verified),
            verify_failed=int(row.verify_failed),
            workers=row.workers,
            working=row.working,
            restoring=int(row.restoring),
            next_look=row.next_look,
            bytes_in_parts=int(row.bytes_in_parts),
            started_at=row.created_at,
            now=row.clock,
            finished_at=row.finished_at,
            limits=limits,
        )

    def drifted(self, run_id: int) -> int:
        """Objects left alone because source or destination had changed since the plan; deletes not counted."""
        with self._database.transaction() as transaction:
            found = transaction.value(
                f"""
                SELECT coalesce(sum({drifted_in("b")} + coalesce(c.drifted, 0)), 0) FROM ledger.batch b
                  JOIN ledger.stage s USING (run_id, stage_no)
                  LEFT JOIN (SELECT k.batch_no, sum({drifted_in("k")}) AS drifted FROM ledger.chunk k
                              WHERE k.run_id = :run_id AND {OBJECTS} AND {TOUCHED} GROUP BY k.batch_no) c
                    ON c.batch_no = b.batch_no
                 WHERE b.run_id = :run_id AND s.stage_id <> :deletes""",
                run_id=run_id,
                deletes=DELETES,
            )
        return int(found)

    def failures(self, run_id: int, limit: int | None = None) -> list[FailedObject]:
        """Objects that were given up and have not succeeded since, each with its last reason, by batch and line.

        An object that verification found different is one of them, with the error code VerifyMismatch.
        """
        with self._database.transaction() as transaction:
            return [FailedObject(*row) for row in transaction.rows(FAILURES, run_id=run_id, limit=limit)]

    def blamed(self, run_id: int, most: int) -> Blamed:
        """Why objects behind a stage were never tried: those of `failures` that would not be alone with their fault.

        At most *most* of them are read.
        """
        with self._database.transaction() as transaction:
            rows = transaction.rows(BLAMED, run_id=run_id, limit=None, most=most)
        first = [FailedObject(*row[:-3]) for row in rows]
        return Blamed(first, *rows[0][-3:]) if rows else Blamed()

    def left_alone(self, run_id: int, limit: int | None = None) -> list[FailedObject]:
        """Objects that drifted, each with its outcome in lower case as error_code, by batch and line."""
        with self._database.transaction() as transaction:
            return [FailedObject(*row) for row in transaction.rows(LEFT_ALONE, run_id=run_id, limit=limit)]

    def failure_counts(self, run_id: int) -> dict[str, int]:
        """How many objects were given up, by error code, most first; see `failures`."""
        with self._database.transaction() as transaction:
            rows = transaction.rows(FAILURE_COUNTS, run_id=run_id, limit=None)
        return {row.error_code: row.objects for row in rows}

    def stages(self, run_id: int) -> list[StageProgress]:
        """The run's stages in the plan's order."""
        with self._database.transaction() as transaction:
            rows = transaction.rows(STAGES, run_id=run_id)
        return [
            StageProgress(row.stage_id, StageState(row.state), int(row.objects), int(row.done), int(row.failed))
            for row in rows
        ]

    def cells(self, run_id: int, cells: int) -> list[CellProgress]:
        """The run's batches in the plan's order, combined into at most *cells* cells."""
        with self._database.transaction() as transaction:
            rows = transaction.rows(CELLS, run_id=run_id, cells=cells)
        return [CellProgress(int(row.objects), int(row.done), int(row.failed)) for row in rows]

    def account(self, run_id: int) -> RunAccount:
        """All that a report says of the run, in one snapshot. Raises KeyError for an unknown run."""
        with self._database.transaction() as transaction:
            transaction.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row = transaction.row(RUN, run_id=run_id)
            if row is None:
                raise KeyError(run_id)
            proofs = transaction.one(PROOFS, run_id=run_id)
            counts = transaction.one(COUNTS, run_id=run_id)
            failures = transaction.rows(FAILURE_REASONS, run_id=run_id, limit=None)
            return RunAccount(
                run=run_of(transaction.one(f"SELECT {RUN_COLUMNS} FROM ledger.run WHERE run_id = :id", id=run_id)),
                tool_version=row.tool_version,
                now=row.clock,
                limits=limits_of(transaction, run_id),
                stages=[_stage(stage) for stage in transaction.rows(STAGE_ACCOUNTS, run_id=run_id)],
                failures=[FailureReason(*found) for found in failures],
                processes=[ProcessRecord(*found) for found in transaction.rows(PROCESSES, run_id=run_id)][::-1],
                process_count=counts.processes,
                proofs=Proofs(*map(int, proofs)),
                attempts_failed=counts.attempts,
                buffer_bytes=counts.buffer_bytes,
                buffer_limit=counts.buffer_limit,
            )

    def completions(self, run_id: int, batch_no: int, *, lo: int = 0, hi: int | None = None) -> Iterator[Completion]:
        """Completion rows of [lo, hi) by ord, streamed; a connection is kept until the iterator ends or is closed."""
        outcome_of = {outcome.value: outcome for outcome in Outcome}
        with self._database.transaction() as transaction:
            rows = transaction.stream(
                f"""
                SELECT {", ".join(Completion._fields)} FROM ledger.completion
                 WHERE run_id = :run_id AND batch_no = :batch_no AND ord >= :lo {"" if hi is None else "AND ord < :hi"}
                 ORDER BY ord""",
                run_id=run_id,
                batch_no=batch_no,
                lo=lo,
                hi=hi,
            )
            for batch, ord_, outcome, attempts, size, etag, checksum, version in rows:
                yield Completion(batch, ord_, outcome_of[outcome], attempts, size, etag, bytes(checksum), version)

    def completed_before(self, lineage: str, section: str, run_id: int | None = None) -> Iterator[EarlierCompletion]:
        """The objects that plans of *lineage* wrote for *section*, by run, batch and line; *run_id*: only before that
        run.

        Streamed, as are `completions`.
        """
        with self._database.transaction() as transaction:
            rows = transaction.stream(
                f"""
                SELECT b.manifest, c.ord, c.destination_etag, c.checksum
                  FROM ledger.run r
                  JOIN ledger.batch b ON b.run_id = r.run_id
                  JOIN ledger.completion c ON c.run_id = r.run_id AND c.batch_no = b.batch_no
                 WHERE r.lineage = :lineage AND b.section = :section AND {OUTCOME_ARRIVED}
                   AND (CAST(:run_id AS int) IS NULL OR r.run_id < :run_id)
                 ORDER BY r.run_id, b.batch_no, c.ord""",
                lineage=lineage,
                section=section,
                run_id=run_id,
            )
            for manifest, ord_, etag, checksum in rows:
                yield EarlierCompletion(manifest, ord_, etag, bytes(checksum))

    def explain(self, run_id: int, batch_no: int, ord: int) -> dict[str, Any]:
        """Everything the ledger knows of one object: chunks, completion, failures, verifications, intents, upload."""
        place = {"run_id": run_id, "batch_no": batch_no, "ord": ord}
        with self._database.transaction() as transaction:
            found: dict[str, Any] = {name: _facts(transaction, query, place) for name, query in EXPLAINED.items()}
            completion = _facts(transaction, f"SELECT * FROM ledger.completion {OF_OBJECT}", place)
            upload = find_upload(transaction, **place)
        return {**found, "completion": next(iter(completion), None), "upload": _upload_facts(upload)}


def _stage(row: Row) -> StageAccount:
    said = by_name(row)
    return StageAccount(
        stage_id=row.stage_id,
        state=StageState(row.state),
        batches=row.batches,
        objects=int(row.objects),
        bytes=int(row.bytes),
        bytes_done=int(row.bytes_done),
        by_outcome={outcome: int(said[outcome.name.lower()]) for outcome in Outcome},
        failed=int(row.failed),
    )


def _facts(transaction: Transaction, query: str, place: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rows as plain values; bytes as hex."""
    return [
        {
            name: bytes(value).hex() if isinstance(value, bytes | memoryview) else value
            for name, value in by_name(row).items()
        }
        for row in transaction.rows(query, **place)
    ]


def _upload_facts(found: tuple[UploadRecord, Sequence[PartRecord]] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    record, parts = found
    return {**record._asdict(), "parts_recorded": [part.part_no for part in parts]}
