"""What the ledger's statements share: states by their names, and one fragment for one meaning.

A statement is made of literal words, these fragments and numbers of our own enums; every other value is bound
(`:name`). Tables have one alias everywhere: r run, b batch, s stage, k chunk, w worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from executor.ledger.values import ARRIVED, DRIFTED, UNFINISHED, ChunkState


def one_of(members: Iterable[IntEnum]) -> str:
    """*members* as an SQL list: '(1, 2, 3)'."""
    return f"({', '.join(f'{member:d}' for member in sorted(members))})"


def drifted_in(alias: str) -> str:
    """The number of objects that were left alone, of a chunk or a batch called *alias*."""
    return "(" + " + ".join(f"{alias}.outcomes[{outcome:d}]" for outcome in sorted(DRIFTED)) + ")"


def left_alone_in(alias: str) -> str:
    """The failure called *alias* is not one of an attempt, but says why an object was left alone."""
    outcomes = ", ".join(f"'{outcome.name.lower()}'" for outcome in sorted(DRIFTED))
    return f"(NOT {alias}.terminal AND {alias}.error_code IN ({outcomes}))"


RUN_UNFINISHED = f"r.state IN {one_of(UNFINISHED)}"
"""The run has neither ended nor been superseded."""

HELD = f"k.state = {ChunkState.LEASED:d} AND r.epoch = k.epoch AND {RUN_UNFINISHED}"
"""A valid lease: not reaped, of the run's current epoch, and the run is unfinished."""

NO_LEASE = "lease_id = NULL, worker_id = NULL, lease_until = NULL"
"""For SET: nobody holds the chunk."""

UNLEASED = f"state = {ChunkState.READY:d}, {NO_LEASE}"
"""For SET: nobody holds the chunk, and any worker may claim it."""

FINISHED = f"k.state IN {one_of((ChunkState.DONE, ChunkState.PARKED))}"
"""Every object of the chunk has been accounted for."""

OUTCOME_ARRIVED = f"c.outcome IN {one_of(ARRIVED)}"
"""The object is at the destination as the plan wants it."""

TOUCHED = f"k.token > 0 AND k.state <> {ChunkState.DONE:d}"
"""A worker holds, or has held, the chunk, and it is not done. Spelled as the index chunk_touched is."""


FENCED = f"""
    SELECT k.chunk_no, k.token FROM ledger.chunk k JOIN ledger.run r ON r.run_id = k.run_id
      JOIN unnest(CAST(:numbers AS int[]), CAST(:tokens AS int[]), CAST(:leases AS uuid[]))
           AS claimed (chunk_no, token, lease_id) ON k.chunk_no = claimed.chunk_no
     WHERE k.run_id = :run_id AND k.token = claimed.token AND k.lease_id = claimed.lease_id AND {HELD}
     ORDER BY k.chunk_no FOR NO KEY UPDATE OF k"""
"""The chunks with a valid lease among those named by `leases.fence`; their rows are locked, in one order, so that a
flush and a renewal of one process never deadlock.
"""
