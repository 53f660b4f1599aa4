"""The ledger's vocabulary: what is claimed, what is reported, what can be asked. Values only, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from schema.process_view import ProcessView


class Lane(IntEnum):
    """Which queue a chunk waits in, so that huge objects and small ones never starve each other."""

    WHOLE = 0
    PARTS = 1


class ChunkKind(IntEnum):
    """What is to be done with a chunk's objects."""

    OBJECTS = 0
    """Move (or delete) them."""
    VERIFY = 2
    """Prove them at the destination; becomes ready when every OBJECTS chunk of its batch is done."""


class Outcome(IntEnum):
    """How an object ended. A failure is not an outcome: it has no completion row."""

    COPIED = 1
    ALREADY_THERE = 2
    """The destination already held the object (also: our own write whose answer was lost)."""
    SOURCE_CHANGED = 3
    SOURCE_GONE = 4
    DELETED = 5
    MARKER_LAID = 6
    CONFLICT = 7
    """The destination is no longer what the plan saw; it was left alone."""


ARRIVED = frozenset({Outcome.COPIED, Outcome.ALREADY_THERE})
"""At the destination as the plan intends."""
DRIFTED = frozenset({Outcome.SOURCE_CHANGED, Outcome.SOURCE_GONE, Outcome.CONFLICT})
"""Left alone: the source or the destination changed since the plan."""


class RunState(IntEnum):
    """Where a run stands. Workers claim only while it is OPEN."""

    OPEN = 1
    PAUSED = 2
    """By a person, until one resumes it. What is in hand may be recorded; its processes end, and none begins."""
    COMPLETE = 4
    """Every chunk is done."""
    FAILED = 5
    """Only parked chunks, and those blocked behind them, are left."""
    SUPERSEDED = 6
    """A newer plan of the same lineage was accepted."""


ENDED = frozenset({RunState.COMPLETE, RunState.FAILED, RunState.SUPERSEDED})
"""States in which nothing of a run is left to do."""

UNFINISHED = frozenset({RunState.OPEN, RunState.PAUSED})
"""A run in one of these still holds its destination."""


class Pause(NamedTuple):
    """Who paused a run, and when."""

    who: str
    since: datetime


class StageState(IntEnum):
    """Where a stage stands."""

    BLOCKED = 0
    OPEN = 1
    """The stages it needs have passed, or would have except for faults of single objects."""
    PASSED = 2
    """Every batch has reached the gate, and so have the stages it needs."""


class BatchState(IntEnum):
    """Where a batch stands. A batch with parked chunks stays READY until they are retried."""

    BLOCKED = 0
    READY = 1
    COPIED = 3
    VERIFIED = 4


class ChunkState(IntEnum):
    """Where a chunk stands."""

    BLOCKED = 0
    READY = 1
    LEASED = 2
    DONE = 3
    PARKED = 4
    """Finished, but some objects failed for good; `Runs.retry` makes it ready again."""


class UploadState(IntEnum):
    """Whether an upload is the current one of its object."""

    OPEN = 1
    REPLACED = 2
    """A newer upload of the same object took its place; it is still to be aborted."""


class ChunkSpec(NamedTuple):
    """A chunk to enroll: the objects [lo, hi) of one batch's manifest."""

    chunk_no: int
    """Unique in the run."""
    batch_no: int
    """Position in plan.batches."""
    kind: ChunkKind
    lane: Lane
    lo: int
    hi: int
    priority: int
    """Small numbers are claimed first."""


class Chunk(NamedTuple):
    """A claimed chunk. `token` and `lease_id` are the fence: they go back with every report."""

    run_id: int
    chunk_no: int
    batch_no: int
    kind: ChunkKind
    lane: Lane
    lo: int
    hi: int
    token: int
    """1 at the first claim, +1 at each further one: above 1, ask `Checkpoints.recorded` first."""
    lease_id: UUID


class Completion(NamedTuple):
    """One object that has ended. A named tuple: made for every object."""

    batch_no: int
    ord: int
    outcome: Outcome
    attempts: int
    size: int
    """Bytes moved or found; counted in the run's bytes_done."""
    destination_etag: str
    """Without quotes; '' where there is none."""
    checksum: bytes
    """CRC64NVME of the whole object, 8 bytes big-endian, or b'' where none was computed."""
    destination_version: str | None = None


class Failure(NamedTuple):
    """One failed attempt at one object. (ord, attempt) is unique under one claim of the chunk."""

    batch_no: int
    ord: int
    attempt: int
    """From 1, under this claim of the chunk."""
    terminal: bool
    """True: given up; the object counts as failed and its chunk will be parked."""
    http_status: int
    """0: no answer was received."""
    error_code: str
    """Our error's class name, or the S3 error code."""
    message: str
    request_id: str = ""
    key: str = ""
    """The source's, unescaped; cut to MESSAGE_MAX characters."""
    own: bool = False
    """The fault is this object's own: others of its kind may well arrive (see executor.copy.blame)."""


class Verification(NamedTuple):
    """What was found of one object of a VERIFY chunk. `detail` says what differs at `key`; both are '' when ok."""

    ord: int
    ok: bool
    detail: str = ""
    key: str = ""
    own: bool = False
    """It is not ok by this object's own fault, as a failure may be."""
    rewritten: Completion | None = None
    """Replaces the completion of an object that was written again."""


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What a worker has done of one chunk since its last report."""

    chunk: Chunk
    completions: Sequence[Completion] = ()
    failures: Sequence[Failure] = ()
    finished: bool = False
    """True: every object of the chunk is recorded now, here or before."""
    verifications: Sequence[Verification] = ()
    """VERIFY chunks only."""


@dataclass(frozen=True, slots=True)
class Run:
    """One accepted plan."""

    run_id: int
    epoch: int
    """Raised by unlock and supersede; workers of an older epoch are fenced."""
    plan_id: str
    state: RunState
    resumed: bool = False
    """True: `Runs.accept` found the plan accepted already."""
    name: str = ""
    lineage: str = ""
    serial: int = 0
    objects: int = 0
    bytes: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """One process at work on a run."""

    worker_id: int
    run_id: int
    epoch: int


class ProcessPlace(NamedTuple):
    """A process, recognisable to others on the same machine."""

    place: str
    """Boot id and pid namespace; '' where they cannot be read."""
    pid: int
    started: int
    """Clock ticks since boot; 0 where they cannot be read."""


class WorkerSeen(NamedTuple):
    """A process that has joined a run and not left it, by the ledger."""

    worker_id: int
    host: str
    process: ProcessPlace
    started_at: datetime
    silent_seconds: float
    """Since it was last heard of."""
    seen: ProcessView | None
    """What it saw last; None before the first time."""


class Scaling(NamedTuple):
    """How many processes a run can use now: a row of the view `ledger.scaling`, which autoscalers read."""

    run_id: int
    plan_id: str
    name: str
    ready_chunks: int
    """To be claimed now; 5,000 at most are counted, as of `leased_chunks`."""
    leased_chunks: int
    objects_left: int
    """In these chunks, as is `bytes_left`."""
    bytes_left: int
    workers: int
    """Processes heard of within the last minute."""
    reason: str
    """paused | closed | waiting | restoring | nothing ready | throttled | working"""
    desired_workers: int
    """In total, including those already there."""


class StageProgress(NamedTuple):
    """How far one stage is."""

    stage: str
    state: StageState
    objects: int
    done: int
    failed: int
    """Given up in chunks that were not claimed again since; also objects that were not proven."""


class CellProgress(NamedTuple):
    """How far neighbouring batches are, taken together."""

    objects: int
    done: int
    failed: int
    """As in StageProgress."""


class UploadRecord(NamedTuple):
    """A multipart upload in progress, as much as resuming or aborting it needs."""

    batch_no: int
    ord: int
    bucket: str
    key: str
    """The destination's full key, unescaped."""
    upload_id: str
    source_etag: str
    source_version: str | None
    source_size: int
    part_size: int
    parts: int


class PartRecord(NamedTuple):
    """A part that the destination has acknowledged."""

    part_no: int
    etag: str
    checksum: bytes
    """CRC64NVME of the part, 8 bytes big-endian, or b''."""
    size: int


class FailedObject(NamedTuple):
    """The last terminal failure of an object that has no completion row, or why an object was left alone."""

    batch_no: int
    batch_id: str
    ord: int
    http_status: int
    error_code: str
    message: str
    request_id: str
    at: datetime
    key: str
    """'': recorded by a build that did not keep it."""
    own: bool


class Blamed(NamedTuple):
    """Failed objects whose fault would hit others as well; if there are none, all failed objects."""

    first: Sequence[FailedObject] = ()
    """Some of them, by batch and line."""
    objects: int = 0
    """All of them."""
    refused: bool = False
    """The endpoint refused one of them: 401 or 403."""
    differs: bool = False
    """One of them was copied and came out different."""


class EarlierCompletion(NamedTuple):
    """An object that an earlier plan of the lineage moved: manifest digest and line identify it."""

    manifest: str
    """'sha256:...'"""
    ord: int
    destination_etag: str
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """What is durable now. Objects and bytes are counted from completion rows, never estimated."""

    run_id: int
    name: str
    state: RunState
    objects: int
    """To be moved, as planned."""
    bytes: int
    done: int
    """Objects with a completion row."""
    failed: int
    """Objects given up in chunks that were not claimed again since."""
    bytes_done: int
    leased: int
    """Chunks, as are ready, blocked and parked."""
    ready: int
    blocked: int
    parked: int
    by_outcome: Mapping[Outcome, int]
    verified: int
    """Objects proven by VERIFY chunks."""
    verify_failed: int
    workers: int
    """Processes seen within the last minute and not stopped."""
    started_at: datetime
    now: datetime
    """The database's clock, for rates."""
    finished_at: datetime | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    working: int = 0
    """Processes that hold a lease; the run's limits are shared among them."""
    restoring: int = 0
    """Objects of postponed chunks, which wait for a restore. Those being checked now do not count."""
    next_look: datetime | None = None
    """When the first of them is checked again."""
    bytes_in_parts: int = 0
    """Acknowledged parts of uploads that are not complete: kept after a kill, and not yet bytes of an object."""

    @property
    def drifted(self) -> int:
        """Objects that were left alone."""
        return sum(self.by_outcome.get(outcome, 0) for outcome in DRIFTED)

    @property
    def untried(self) -> int:
        """Objects neither done nor given up, once the run has failed: they waited behind a stage."""
        return max(0, self.objects - self.done - self.failed) if self.state is RunState.FAILED else 0


class StageAccount(NamedTuple):
    """The results of the objects of one stage."""

    stage_id: str
    state: StageState
    batches: int
    objects: int
    """Planned."""
    bytes: int
    bytes_done: int
    by_outcome: Mapping[Outcome, int]
    failed: int
    """Given up in chunks that were not claimed again since."""

    @property
    def left(self) -> int:
        """Objects that are not finished."""
        return self.objects - sum(self.by_outcome.values()) - self.failed


class FailureReason(NamedTuple):
    """All objects that were given up for one reason and have not succeeded since."""

    error_code: str
    http_status: int
    """0: no answer was received."""
    objects: int
    message: str
    """That of one of them."""
    example: str
    """The key of one of them, or BATCH:LINE."""


class ProcessRecord(NamedTuple):
    """A process that has worked on a run, gone or not."""

    worker_id: int
    host: str
    pid: int
    tool_version: str
    started_at: datetime
    stopped_at: datetime | None
    exit_code: int | None
    """None: it has not left; with `stopped_at`: it died."""


class Proofs(NamedTuple):
    """How the objects that arrived are proven, as far as the ledger knows."""

    arrived: int
    checksummed: int
    """Of these: with the CRC64NVME of what was read."""
    verified: int
    """Proven again by the gate of a stage."""
    not_verified: int
    """Found different by it, and not proven since."""


@dataclass(frozen=True, slots=True)
class RunAccount:
    """The state of a run at one point in time."""

    run: Run
    tool_version: str
    """Of the process that accepted the plan."""
    now: datetime
    """The database's clock."""
    limits: Mapping[str, float]
    """Set during the run."""
    stages: Sequence[StageAccount]
    """In the plan's order."""
    failures: Sequence[FailureReason]
    """Most objects first."""
    processes: Sequence[ProcessRecord]
    """The last PROCESSES_TOLD of them."""
    process_count: int
    proofs: Proofs
    attempts_failed: int
    """Failed attempts at all objects, including those that arrived later."""
    buffer_bytes: int | None
    """The most that one process had reserved for objects in flight; None: no sample was taken."""
    buffer_limit: int | None
