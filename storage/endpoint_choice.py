"""Which of several declared endpoints of one bucket to use: each gets a few small requests, and the best is used.

Regional endpoints, VPC endpoints, accelerators and mirrors lead to the same bucket by ways of different quality. The
choice is deliberately slow to change: measurements jitter, and a plan must not differ from the last one because a
round trip took a millisecond more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import Any

from schema.declaration import Side
from schema.errors import ObjectMissing, StoreError
from schema.objects import supported
from schema.storage_classes import STANDARD
from storage.port import ObjectStore

ASKED = 5
"""Small requests per endpoint, for the median round trip."""
NOTHING_THERE = ".s3migrate-probe/no-such-object"
SAMPLE_BYTES = 4 << 20
MOST_REQUEST_BYTES = 16 << 20
UNKNOWN_BYTES = 1 << 20
"""Of a request, where the bucket is empty."""
LEAST_SAMPLE_BYTES = 64 << 10
"""Smaller objects say nothing of throughput."""
LISTED = 50
"""Keys looked at for a sample."""
NEARLY_BEST = 1.25
"""Within this factor of the best, the order of the declaration decides."""
STILL_GOOD = 1.6
"""Within this factor of the best, the previous plan's endpoint is kept."""
LEAST_SECONDS = 0.002
"""Differences below two milliseconds are noise."""


@dataclass(frozen=True, slots=True)
class CandidateProbe:
    """What one endpoint answered."""

    url: str
    seconds: float = 0.0
    """Median round trip of a HEAD."""
    bytes_per_second: float | None = None
    """Of one read of up to SAMPLE_BYTES; None: there was nothing to read."""
    error: StoreError | None = None
    """Why it cannot be used."""
    listed: tuple[tuple[str, int], ...] = ()
    """The first keys, with their sizes."""

    @property
    def reachable(self) -> bool:
        """It answered as an S3 endpoint of this bucket does."""
        return self.error is None

    def score(self, size: float) -> float:
        """Seconds that one request with *size* bytes would take; smaller is better."""
        return max(self.seconds, LEAST_SECONDS) + (size / self.bytes_per_second if self.bytes_per_second else 0)

    def figures(self) -> dict[str, Any]:
        """For the plan's provenance, which is not part of its identity."""
        if self.error is not None:
            return {"unreachable": str(self.error)}
        rate = None if self.bytes_per_second is None else round(self.bytes_per_second)
        return {"round_trip_us": round(self.seconds * 1e6), "bytes_per_second": rate}


def probe_candidate(url: str, store: ObjectStore, prefix: str, *, clock: Callable[[], float]) -> CandidateProbe:
    """Ask *store*, which is the bucket behind *url*: a LIST, a few HEADs, and a read where there is something."""
    try:
        listed = list(supported(islice(store.list_objects(prefix), LISTED)))
        seconds = median(_head_seconds(store, clock) for _ in range(ASKED))
        sample = next(
            (found for found in listed if found.size >= LEAST_SAMPLE_BYTES and found.storage_class == STANDARD), None
        )
        shown = tuple((found.key, found.size) for found in listed)
        if sample is None:
            return CandidateProbe(url, seconds, listed=shown)
        room = memoryview(bytearray(min(sample.size, SAMPLE_BYTES)))
        began = clock()
        store.get(sample.key, room, start=0)
        spent = max(clock() - began - seconds, 1e-6)
        return CandidateProbe(url, seconds, len(room) / spent, listed=shown)
    except StoreError as error:
        return CandidateProbe(url, error=error)


def _head_seconds(store: ObjectStore, clock: Callable[[], float]) -> float:
    began = clock()
    with suppress(ObjectMissing):
        store.head(NOTHING_THERE)
    return clock() - began


def choose(probes: Sequence[CandidateProbe], before: str | None = None) -> str:
    """The URL to use. *probes* in the declaration's order; *before*: the previous plan's choice.

    An endpoint nearly as good as the best is good enough: the one chosen before, else the first declared. Raises the
    first one's StoreError when none can be reached.
    """
    reachable = [probe for probe in probes if probe.reachable]
    if not reachable:
        for probe in probes:
            if probe.error is not None:
                raise probe.error
        raise ValueError("no endpoints to choose from")
    size = _request_bytes(reachable[0])
    comparable = all(probe.bytes_per_second for probe in reachable)
    scores = {probe.url: probe.score(size) if comparable else max(probe.seconds, LEAST_SECONDS) for probe in reachable}
    best = min(scores.values())
    if before is not None and scores.get(before, float("inf")) <= best * STILL_GOOD:
        return before
    return next(url for url, score in scores.items() if score <= best * NEARLY_BEST)


def _request_bytes(probe: CandidateProbe) -> float:
    """Of a request of this bucket, by the keys looked at: a large object takes one for each part."""
    sizes = [min(size, MOST_REQUEST_BYTES) for _, size in probe.listed]
    return sum(sizes) / len(sizes) if sizes else UNKNOWN_BYTES


def strangers(probes: Sequence[CandidateProbe]) -> tuple[str, str] | None:
    """Two endpoints whose buckets do not begin with the same keys; None: all that answered show the same."""
    reachable = [probe for probe in probes if probe.reachable]
    for probe in reachable[1:]:
        if probe.listed != reachable[0].listed:
            return reachable[0].url, probe.url
    return None


def chosen_side(side: Side, url: str) -> Side:
    """*side* with *url* in use and first; the other candidates follow in the declaration's order."""
    others = tuple(other for other in side.endpoint_candidates if other != url)
    return replace(side, endpoint_url=url, endpoint_candidates=(url, *others))
