"""The history of a run: what one process did, and what its threads waited for, in about ten seconds.

Written to the ledger by each process (executor/apply/history.py), read by `status`, its page, the metrics and the
report. Everything in FlowCounts is a sum: samples of one process after the other, and of several side by side, may be
added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import TypeVar

from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.limits import CLOSED
from schema.process_view import ProcessView

SIDES = (WhichSide.SOURCE, WhichSide.DESTINATION)


class Activity(IntEnum):
    """What a worker thread is doing. The numbers are positions in the ledger's arrays: new ones go to the end."""

    WORKING = 1
    """Digests, signatures, headers; also the wait for a processor or for Python's interpreter."""
    SOURCE = 2
    """A request to the source is in progress: waiting for its answer and the bytes."""
    DESTINATION = 3
    LIMIT = 4
    """A request is held back by one of the run's limits; which one is in FlowCounts.limit_seconds."""
    THROTTLING = 5
    """Held back by the pace set after throttling or by an open breaker, or a pause before a retry."""
    MEMORY = 6
    """Bytes of the memory budget."""
    LEDGER = 7
    """Waiting for the ledger's answer, for room in the queue to it, or (idle) for a claim."""
    IDLE = 8
    """No object is available: the run ends, or the rest waits for something else."""


@dataclass(frozen=True, slots=True)
class SideCounts:
    """Requests to one side of the pairs, whatever their result."""

    requests: Mapping[RequestClass, int] = field(default_factory=dict)
    throttled: int = 0
    """Of the requests: refused because there were too many."""
    failed: int = 0
    """Of the requests: without an answer, or with an error of the endpoint."""
    bytes: int = 0
    """Of bodies, either way."""
    seconds: float = 0.0
    """Sum over the answered requests, from sending to the last byte."""

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.requests.values())

    def __add__(self, other: SideCounts) -> SideCounts:
        return SideCounts(
            added(self.requests, other.requests),
            self.throttled + other.throttled,
            self.failed + other.failed,
            self.bytes + other.bytes,
            self.seconds + other.seconds,
        )

    def __sub__(self, other: SideCounts) -> SideCounts:
        return SideCounts(
            less(self.requests, other.requests),
            self.throttled - other.throttled,
            self.failed - other.failed,
            self.bytes - other.bytes,
            self.seconds - other.seconds,
        )


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Sums over an interval of one process, or over several intervals and processes."""

    seconds: float = 0.0
    """Of processes: two that ran ten seconds side by side are twenty."""
    objects: int = 0
    """Objects that have ended, durably."""
    failed: int = 0
    """Given up, for this claim of their chunk."""
    bytes: int = 0
    """Of `objects`."""
    processor_seconds: float = 0.0
    """Used, of all threads of the processes."""
    processor_wait_seconds: float = 0.0
    """Thread-seconds in which a thread was ready but had no processor. Linux; elsewhere 0."""
    saturated_seconds: float = 0.0
    """Of `seconds`: the machine had hardly an idle core, or the process kept one busy alone."""
    threads: Mapping[Activity, float] = field(default_factory=dict)
    """Thread-seconds of the worker threads that were wanted, by what they were doing (sampled ten times a second)."""
    limit_seconds: Mapping[str, float] = field(default_factory=dict)
    """Of the thread-seconds in Activity.LIMIT, by the limit's name in schema.limits.LIMITS, or CLOSED."""
    sides: Mapping[WhichSide, SideCounts] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """For most of it the run's calendar was closed."""
        return 2 * self.limit_seconds.get(CLOSED, 0.0) > sum(self.threads.values())

    def of(self, side: WhichSide) -> SideCounts:
        """The requests to *side*."""
        return self.sides.get(side, NO_REQUESTS)

    def __add__(self, other: FlowCounts) -> FlowCounts:
        return FlowCounts(
            seconds=self.seconds + other.seconds,
            objects=self.objects + other.objects,
            failed=self.failed + other.failed,
            bytes=self.bytes + other.bytes,
            processor_seconds=self.processor_seconds + other.processor_seconds,
            processor_wait_seconds=self.processor_wait_seconds + other.processor_wait_seconds,
            saturated_seconds=self.saturated_seconds + other.saturated_seconds,
            threads=added(self.threads, other.threads),
            limit_seconds=added(self.limit_seconds, other.limit_seconds),
            sides={side: self.of(side) + other.of(side) for side in SIDES},
        )


@dataclass(frozen=True, slots=True)
class FlowSample:
    """One process over one interval, and how it stood at the end of it."""

    worker_id: int
    number: int
    """From 1, for each worker."""
    at: datetime
    """The end of the interval, by the ledger's clock."""
    counts: FlowCounts
    view: ProcessView
    """Threads and the reason for their number, pace and breaker of each endpoint, limits in force and this process's
    share of them; without the keys that are throttled individually.
    """
    buffer_bytes: int
    """Reserved for objects in flight."""
    buffer_limit: int


@dataclass(frozen=True, slots=True)
class FlowPoint:
    """All processes of a run over one step of its time."""

    begins: datetime
    seconds: float
    """The step, of the wall's clock."""
    counts: FlowCounts


NO_REQUESTS = SideCounts()
NOTHING = FlowCounts()
Name = TypeVar("Name")
Amount = TypeVar("Amount", int, float)


def total(counts: Iterable[FlowCounts]) -> FlowCounts:
    """All of *counts* added up."""
    return sum(counts, NOTHING)


def added(one: Mapping[Name, Amount], other: Mapping[Name, Amount]) -> dict[Name, Amount]:
    """Name by name; a missing name counts as zero."""
    found = dict(one)
    for name, amount in other.items():
        found[name] = found[name] + amount if name in found else amount
    return found


def less(one: Mapping[Name, Amount], other: Mapping[Name, Amount]) -> dict[Name, Amount]:
    """Name by name; *other* was counted before, so it has no name that *one* lacks."""
    return {name: amount - other[name] if name in other else amount for name, amount in one.items()}
