"""What can be asked of the ledger. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, TextClause, select, text

from executor.ledger.database import Database
from executor.ledger.runs import RUN_COLUMNS, run_of
from executor.ledger.uploads import find_upload
from executor.ledger.values import (
    DRIFTED,
    BatchState,
    ChunkState,
    Completion,
    EarlierCompletion,
    FailedObject,
    Outcome,
    Progress,
    Run,
    RunState,
    UploadRecord,
)
from schema.plain import build
from schema.plan import DELETES, Plan
from schema.tables import batch as batch_table
from schema.tables import completion, run_limit
from schema.tables import run as run_table

STREAM_ROWS = 2000
"""Rows fetched at a time by a server-side cursor."""


def runs(database: Database) -> list[Run]:
    """Every accepted plan, newest first."""
    with database.transaction() as connection:
        return [run_of(row) for row in connection.execute(select(*RUN_COLUMNS).order_by(run_table.c.run_id.desc()))]


def find_run(database: Database, plan_id: str) -> Run | None:
    """The run of the plan with this id, if it was accepted."""
    with database.transaction() as connection:
        row = connection.execute(select(*RUN_COLUMNS).where(run_table.c.plan_id == plan_id)).one_or_none()
    return None if row is None else run_of(row)


def plan_of(database: Database, run_id: int) -> Plan:
    """The plan that the run carries out, as it was accepted."""
    with database.transaction() as connection:
        document = connection.execute(select(run_table.c.plan).where(run_table.c.run_id == run_id)).scalar_one()
    return build(Plan, document)


def latest_run(database: Database) -> Run | None:
    """The run accepted last."""
    with database.transaction() as connection:
        row = connection.execute(select(*RUN_COLUMNS).order_by(run_table.c.run_id.desc()).limit(1)).one_or_none()
    return None if row is None else run_of(row)


def progress(database: Database, run_id: int) -> Progress:
    """What is durable of the run now. Raises KeyError for an unknown run."""
    sums = ", ".join(f"coalesce(sum(outcomes[{outcome}]), 0) AS o{outcome:d}" for outcome in Outcome)
    states = ", ".join(f"count(*) FILTER (WHERE state = {state:d}) AS s{state:d}" for state in ChunkState)
    with database.transaction() as connection:
        row = (
            connection.execute(
                text(f"""
                SELECT r.run_id, r.name, r.state, r.objects, r.bytes, r.created_at, r.finished_at, now() AS clock, c.*,
                       (SELECT count(*) FROM ledger.worker w WHERE w.run_id = r.run_id AND w.stopped_at IS NULL
                           AND w.epoch = r.epoch AND w.last_seen > now() - interval '1 minute') AS workers
                  FROM ledger.run r, LATERAL (
                    SELECT coalesce(sum(n_done) FILTER (WHERE kind = 0), 0) AS done,
                           coalesce(sum(n_bad) FILTER (WHERE kind = 0), 0) AS failed,
                           coalesce(sum(n_done) FILTER (WHERE kind = 2), 0) AS verified,
                           coalesce(sum(n_bad) FILTER (WHERE kind = 2), 0) AS verify_failed,
                           count(DISTINCT worker_id) FILTER (WHERE state = 2 AND lease_until > now()) AS working,
                           coalesce(sum(greatest(hi - lo - n_done - n_bad, 0))
                               FILTER (WHERE state = 1 AND not_before IS NOT NULL), 0) AS restoring,
                           min(not_before) FILTER (WHERE state = 1) AS next_look,
                           coalesce(sum(bytes_done), 0) AS bytes_done, {states}, {sums}
                      FROM ledger.chunk WHERE run_id = r.run_id) c
                 WHERE r.run_id = :run_id"""),  # noqa: S608
                {"run_id": run_id},
            )
            .mappings()
            .one_or_none()
        )
        set_limits = _limits(connection, run_id)
    if row is None:
        raise KeyError(run_id)
    return Progress(
        run_id=run_id,
        name=row["name"],
        state=RunState(row["state"]),
        objects=row["objects"],
        bytes=row["bytes"],
        done=int(row["done"]),
        failed=int(row["failed"]),
        bytes_done=int(row["bytes_done"]),
        leased=row[f"s{ChunkState.LEASED:d}"],
        ready=row[f"s{ChunkState.READY:d}"],
        blocked=row[f"s{ChunkState.BLOCKED:d}"],
        parked=row[f"s{ChunkState.PARKED:d}"],
        by_outcome={outcome: int(row[f"o{outcome:d}"]) for outcome in Outcome},
        verified=int(row["verified"]),
        verify_failed=int(row["verify_failed"]),
        workers=row["workers"],
        working=row["working"],
        restoring=int(row["restoring"]),
        next_look=row["next_look"],
        started_at=row["created_at"],
        now=row["clock"],
        finished_at=row["finished_at"],
        limits=set_limits,
    )


def drifted(database: Database, run_id: int) -> int:
    """Objects left alone because their source or destination had changed since the plan; deletes not counted."""
    left_alone = " + ".join(f"outcomes[{o:d}]" for o in sorted(DRIFTED))
    query = text(f"""
        SELECT coalesce(sum({left_alone}), 0)
          FROM ledger.chunk JOIN ledger.batch USING (run_id, batch_no) JOIN ledger.stage USING (run_id, stage_no)
         WHERE run_id = :run_id AND kind = 0 AND stage_id <> :deletes""")  # noqa: S608 - numbers of an enum
    with database.transaction() as connection:
        return int(connection.execute(query, {"run_id": run_id, "deletes": DELETES}).scalar_one())


def failures(database: Database, run_id: int, limit: int | None) -> list[FailedObject]:
    """Objects that were given up and have not succeeded since, each with its last reason, by batch and line.

    An object that verification found different is one of them, with the error code VerifyMismatch.
    """
    query = text("""
        WITH given_up AS (
            SELECT DISTINCT ON (f.batch_no, f.ord) f.batch_no, f.ord, f.http_status, f.error_code, f.message,
                   f.request_id, f.at
              FROM ledger.failure f
             WHERE f.run_id = :run_id AND f.terminal
               AND NOT EXISTS (SELECT 1 FROM ledger.completion c WHERE f.kind = 0
                   AND c.run_id = f.run_id AND c.batch_no = f.batch_no AND c.ord = f.ord)
               AND NOT EXISTS (SELECT 1 FROM ledger.verification v WHERE f.kind = 2 AND v.ok
                   AND v.run_id = f.run_id AND v.batch_no = f.batch_no AND v.ord = f.ord)
             ORDER BY f.batch_no, f.ord, f.at DESC, f.token DESC, f.attempt DESC),
        different AS (
            SELECT DISTINCT ON (v.batch_no, v.ord) v.batch_no, v.ord, 0, 'VerifyMismatch', v.detail, '', v.at
              FROM ledger.verification v
             WHERE v.run_id = :run_id AND NOT v.ok
               AND NOT EXISTS (SELECT 1 FROM ledger.verification w WHERE w.ok
                   AND w.run_id = v.run_id AND w.batch_no = v.batch_no AND w.ord = v.ord)
             ORDER BY v.batch_no, v.ord, v.token DESC)
        SELECT x.batch_no, b.batch_id, x.ord, x.http_status, x.error_code, x.message, x.request_id, x.at
          FROM (SELECT * FROM given_up UNION ALL SELECT * FROM different) x
          JOIN ledger.batch b ON b.run_id = :run_id AND b.batch_no = x.batch_no
         ORDER BY x.batch_no, x.ord LIMIT :limit""")
    with database.transaction() as connection:
        return [FailedObject(*row) for row in connection.execute(query, {"run_id": run_id, "limit": limit})]


def completions(database: Database, run_id: int, batch_no: int, lo: int, hi: int | None) -> Iterator[Completion]:
    """The completion rows of [lo, hi) of a batch, by line. Streamed; keeps a connection until exhausted or closed."""
    query = (
        select(
            *(completion.c.batch_no, completion.c.ord, completion.c.outcome, completion.c.attempts, completion.c.size),
            *(completion.c.destination_etag, completion.c.checksum, completion.c.destination_version),
        )
        .where(completion.c.run_id == run_id, completion.c.batch_no == batch_no, completion.c.ord >= lo)
        .order_by(completion.c.ord)
    )
    if hi is not None:
        query = query.where(completion.c.ord < hi)
    outcome_of = {outcome.value: outcome for outcome in Outcome}
    with database.transaction() as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=STREAM_ROWS)
        for batch, ord_, outcome, attempts, size, etag, checksum, version in streaming.execute(query):
            yield Completion(batch, ord_, outcome_of[outcome], attempts, size, etag, bytes(checksum), version)


def completed_before(database: Database, lineage: str, section: str, run_id: int | None) -> Iterator[EarlierCompletion]:
    """What plans of *lineage* put in place for *section*, by run, batch and line; *run_id*: only before that run."""
    query = text("""
        SELECT b.manifest, c.ord, c.destination_etag, c.checksum
          FROM ledger.run r
          JOIN ledger.batch b ON b.run_id = r.run_id
          JOIN ledger.completion c ON c.run_id = r.run_id AND c.batch_no = b.batch_no
         WHERE r.lineage = :lineage AND b.section = :section AND c.outcome IN (1, 2)
           AND (CAST(:run_id AS int) IS NULL OR r.run_id < :run_id)
         ORDER BY r.run_id, b.batch_no, c.ord""")
    with database.transaction() as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=STREAM_ROWS)
        rows = streaming.execute(query, {"lineage": lineage, "section": section, "run_id": run_id})
        for manifest, ord_, etag, checksum in rows:
            yield EarlierCompletion(manifest, ord_, etag, bytes(checksum))


def batch_numbers(database: Database, run_id: int) -> dict[str, int]:
    """Batch id -> batch number."""
    with database.transaction() as connection:
        query = select(batch_table.c.batch_id, batch_table.c.batch_no).where(batch_table.c.run_id == run_id)
        return {row.batch_id: row.batch_no for row in connection.execute(query)}


def batch_states(database: Database, run_id: int) -> dict[str, BatchState]:
    """Batch id -> state, in the plan's order."""
    query = select(batch_table.c.batch_id, batch_table.c.state).where(batch_table.c.run_id == run_id)
    with database.transaction() as connection:
        rows = connection.execute(query.order_by(batch_table.c.batch_no)).all()
    return {row.batch_id: BatchState(row.state) for row in rows}


def explain(database: Database, run_id: int, batch_no: int, ord: int) -> dict[str, Any]:
    """Everything the ledger knows of one object: chunks, completion, failures, verifications, intents, upload."""
    place = {"run_id": run_id, "batch_no": batch_no, "ord": ord}
    where = "WHERE run_id = :run_id AND batch_no = :batch_no AND ord = :ord"
    statements = {
        "chunks": text(
            "SELECT chunk_no, kind, lane, lo, hi, state, token, worker_id, lease_until, not_before, n_done, n_bad"
            " FROM ledger.chunk WHERE run_id = :run_id AND batch_no = :batch_no AND lo <= :ord AND hi > :ord"
            " ORDER BY kind"
        ),
        "completion": text(f"SELECT * FROM ledger.completion {where}"),  # noqa: S608
        "failures": text(f"SELECT * FROM ledger.failure {where} ORDER BY at, token, attempt"),  # noqa: S608
        "verifications": text(f"SELECT * FROM ledger.verification {where} ORDER BY token"),  # noqa: S608
        "intents": text(f"SELECT * FROM ledger.intent {where} ORDER BY at"),  # noqa: S608
    }
    with database.transaction() as connection:
        found: dict[str, Any] = {name: _rows(connection, query, place) for name, query in statements.items()}
    found["completion"] = found["completion"][0] if found["completion"] else None
    found["upload"] = _upload_facts(find_upload(database, run_id, batch_no, ord))
    return found


def set_limit(database: Database, run_id: int, name: str, value: float) -> None:
    """Set a limit that every process of the run reads."""
    with database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO ledger.run_limit (run_id, name, value) VALUES (:run_id, :name, :value)"
                " ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value, set_at = now()"
            ),
            {"run_id": run_id, "name": name, "value": value},
        )


def limits(database: Database, run_id: int) -> Mapping[str, float]:
    """The limits set for the run while it goes on."""
    with database.transaction() as connection:
        return _limits(connection, run_id)


def _limits(connection: Connection, run_id: int) -> dict[str, float]:
    query = select(run_limit.c.name, run_limit.c.value).where(run_limit.c.run_id == run_id)
    return {row.name: row.value for row in connection.execute(query)}


def _rows(connection: Connection, query: TextClause, place: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rows as plain values; bytes as hex."""
    return [
        {name: bytes(value).hex() if isinstance(value, bytes | memoryview) else value for name, value in row.items()}
        for row in connection.execute(query, dict(place)).mappings()
    ]


def _upload_facts(found: tuple[UploadRecord, Sequence[Any]] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    record, parts = found
    return {**record._asdict(), "parts_recorded": [part.part_no for part in parts]}
