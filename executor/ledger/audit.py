"""The audit chain: a run's events, each hashed together with the one before it (`ledger.audit_append`), and the proof
that the ledger still says what was written: rows against digests, digests against the chain, sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from executor.ledger.database import Database, Row, Transaction, by_name
from executor.ledger.sql import FINISHED
from executor.ledger.values import ChunkKind, ChunkState, Outcome, RunState
from schema.formats.canonical import canonical_json

LEDGER = "ledger"
"""The actor of events that a flush brings about."""


class Event(NamedTuple):
    """Something that happened to a run."""

    kind: str
    body: Mapping[str, Any]
    """What has a canonical form (schema.formats.canonical): strings, integers, no floats."""


def append(transaction: Transaction, run_id: int, event: Event, *, who: str = LEDGER) -> None:
    """Append *event* to the run's chain. Locks the run's row until the commit."""
    body = canonical_json(event.body).decode()
    transaction.run(
        "SELECT ledger.audit_append(:run_id, :actor, :kind, :body)",
        run_id=run_id,
        actor=who,
        kind=event.kind,
        body=body,
    )


NOT_DONE = f"k.state <> {ChunkState.DONE:d}"

COMPLAINTS = {
    "audit event {seq} ({kind}) does not match its hash: it, or one before it, was altered": """
        SELECT a.seq, a.kind FROM (
            SELECT *, lag(hash, 1, ''::bytea) OVER (ORDER BY seq) AS prev FROM ledger.audit WHERE run_id = :run_id) a
         WHERE a.hash <> ledger.audit_hash(a.prev, a.seq, a.at, a.actor, a.kind, a.body) ORDER BY a.seq""",
    "the audit chain ends at event {last}, but the run counts {audit_seq}: events were removed or added": """
        SELECT coalesce(max(a.seq), 0) AS last, r.audit_seq
          FROM ledger.run r LEFT JOIN ledger.audit a ON a.run_id = r.run_id WHERE r.run_id = :run_id
         GROUP BY r.run_id, r.audit_seq, r.audit_head
        HAVING coalesce(max(a.seq), 0) <> r.audit_seq OR count(a.seq) <> r.audit_seq
            OR NOT coalesce(bool_or(a.hash = r.audit_head), r.audit_seq = 0)""",
    "chunk {chunk_no} (batch {batch_no}, lines {lo} to {hi}) no longer matches the digest taken when it was finished: "
    "a row was altered, removed or added": f"""
        SELECT k.chunk_no, k.batch_no, k.lo, k.hi FROM ledger.chunk k
         WHERE k.run_id = :run_id AND {FINISHED} AND k.digest IS DISTINCT FROM CASE k.kind
               WHEN {ChunkKind.OBJECTS:d} THEN ledger.completion_digest(k.run_id, k.batch_no, k.lo, k.hi)
               ELSE ledger.verification_digest(k.run_id, k.batch_no, k.lo, k.hi) END
         ORDER BY k.chunk_no""",
    "chunk {chunk_no} has another digest than the audit chain recorded": f"""
        SELECT k.chunk_no FROM ledger.chunk k LEFT JOIN (
               SELECT DISTINCT ON (1) substring(body FROM '"chunk":([0-9]+)')::int AS chunk_no,
                      substring(body FROM '"digest":"([0-9a-f]+)"') AS digest
                 FROM ledger.audit WHERE run_id = :run_id AND kind IN ('chunk-done', 'chunk-parked', 'object-rewritten')
                ORDER BY 1, seq DESC) e USING (chunk_no)
         WHERE k.run_id = :run_id AND {FINISHED} AND e.digest IS DISTINCT FROM encode(k.digest, 'hex')
         ORDER BY k.chunk_no""",
    "chunk {chunk_no} counts {n_done} objects done and {bytes_done} bytes, its rows say {done} and {moved}": f"""
        SELECT k.chunk_no, k.n_done, k.bytes_done, c.done, c.moved
          FROM ledger.chunk k, LATERAL (
               SELECT count(*) AS done, coalesce(sum(size), 0) AS moved FROM ledger.completion
                WHERE run_id = k.run_id AND batch_no = k.batch_no AND ord >= k.lo AND ord < k.hi) c
         WHERE k.run_id = :run_id AND k.kind = {ChunkKind.OBJECTS:d} AND (k.n_done <> c.done OR k.bytes_done <> c.moved)
         ORDER BY k.chunk_no""",
    "chunk {chunk_no} counts {n_done} objects verified, its rows say {done}": f"""
        SELECT k.chunk_no, k.n_done, v.done
          FROM ledger.chunk k, LATERAL (
               SELECT count(*) AS done FROM ledger.verification
                WHERE run_id = k.run_id AND batch_no = k.batch_no AND ord >= k.lo AND ord < k.hi AND ok) v
         WHERE k.run_id = :run_id AND k.kind = {ChunkKind.VERIFY:d} AND k.n_done <> v.done ORDER BY k.chunk_no""",
    "object {ord} of batch {batch_no} has a completion row, but no chunk covers it": """
        SELECT c.batch_no, c.ord FROM ledger.completion c
         WHERE c.run_id = :run_id AND NOT EXISTS (SELECT 1 FROM ledger.batch b
               WHERE b.run_id = c.run_id AND b.batch_no = c.batch_no AND c.ord >= 0 AND c.ord < b.objects)
         ORDER BY c.batch_no, c.ord LIMIT 20""",
    "chunk {chunk_no} is done, but {missing} of its objects are not accounted for": f"""
        SELECT k.chunk_no, k.hi - k.lo - k.n_done - k.n_bad AS missing FROM ledger.chunk k
         WHERE k.run_id = :run_id AND {FINISHED} AND k.n_done + k.n_bad <> k.hi - k.lo ORDER BY k.chunk_no""",
    "batch {batch_id} says {copy_left} chunks to copy and {verify_left} to verify, its chunks say {copying} and "
    "{verifying}": f"""
        SELECT b.batch_id, b.copy_left, b.verify_left, n.copying, n.verifying FROM ledger.batch b, LATERAL (
               SELECT count(*) FILTER (WHERE k.kind = {ChunkKind.OBJECTS:d}) AS copying,
                      count(*) FILTER (WHERE k.kind = {ChunkKind.VERIFY:d}) AS verifying
                 FROM ledger.chunk k WHERE k.run_id = b.run_id AND k.batch_no = b.batch_no AND {NOT_DONE}) n
         WHERE b.run_id = :run_id AND (b.copy_left <> n.copying OR b.verify_left <> n.verifying)
         ORDER BY b.batch_no""",
    "batch {batch_id} counts {n_done} objects done and {n_verified} verified in finished chunks, these say {done} and "
    "{verified}": f"""
        SELECT b.batch_id, b.n_done, b.n_verified, n.done, n.verified FROM ledger.batch b, LATERAL (
               SELECT coalesce(sum(k.n_done) FILTER (WHERE k.kind = {ChunkKind.OBJECTS:d}), 0) AS done,
                      coalesce(sum(k.n_done) FILTER (WHERE k.kind = {ChunkKind.VERIFY:d}), 0) AS verified,
                      coalesce(sum(k.bytes_done), 0) AS moved,
                      ARRAY[{", ".join(f"coalesce(sum(k.outcomes[{o:d}]), 0)" for o in Outcome)}]::bigint[] AS outcomes
                 FROM ledger.chunk k WHERE k.run_id = b.run_id AND k.batch_no = b.batch_no
                  AND k.state = {ChunkState.DONE:d}) n
         WHERE b.run_id = :run_id AND (b.n_done <> n.done OR b.n_verified <> n.verified OR b.bytes_done <> n.moved
               OR b.outcomes <> n.outcomes)
         ORDER BY b.batch_no""",
    "stage {stage_id} says {batches_left} batches before its gate, its batches say {waiting}": """
        SELECT s.stage_id, s.batches_left, b.waiting FROM ledger.stage s, LATERAL (
               SELECT count(*) AS waiting FROM ledger.batch
                WHERE run_id = s.run_id AND stage_no = s.stage_no AND state < s.gate) b
         WHERE s.run_id = :run_id AND s.batches_left <> b.waiting ORDER BY s.stage_no""",
    "the run says {chunks_left} chunks are left, they are {left}": f"""
        SELECT r.chunks_left, n.left FROM ledger.run r, LATERAL (
               SELECT count(*) AS left FROM ledger.chunk k WHERE k.run_id = r.run_id AND {NOT_DONE}) n
         WHERE r.run_id = :run_id
           AND (r.chunks_left <> n.left OR (r.state = {RunState.COMPLETE:d} AND n.left > 0))""",
}
"""What to say -> how to find it. The names in braces are the query's columns."""


class Checks:
    """The proof that the ledger is whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def contradictions(self, run_id: int) -> list[str]:
        """Every contradiction between rows, counters, digests and the audit chain; empty when all is whole.

        Reads everything: minutes for 100 million rows.
        """
        with self._database.transaction() as transaction:
            # One snapshot, so that workers may continue meanwhile.
            transaction.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return [
                line
                for words, query in COMPLAINTS.items()
                for line in _said(words, transaction.rows(query, run_id=run_id))
            ]


def _said(words: str, rows: Iterable[Row]) -> list[str]:
    return [words.format(**by_name(row)) for row in rows]
