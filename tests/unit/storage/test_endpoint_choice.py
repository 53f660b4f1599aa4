"""Of several endpoints of one bucket the best is taken, and kept while it is good enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from planner.lineage import lineage_of
from schema.declaration import Declaration, Pair, Side
from schema.errors import BucketMissing, ConnectionFailed, ObjectMissing, StoreError
from schema.objects import ListedObject
from schema.tiers import MIB
from storage.endpoint_choice import CandidateProbe, choose, chosen_side, probe_candidate
from storage.port import ObjectStore

SMALL, LARGE = (("k", 10_000), ("l", 90_000)), (("k", 10_000), ("l", 90 * MIB))
A, B, C = "http://a:1", "http://b:2", "http://c:3"


def away(url: str) -> CandidateProbe:
    return CandidateProbe(url, error=ConnectionFailed(f"{url} refused"))


@pytest.mark.parametrize(
    ("probes", "before", "expected"),
    [
        ([CandidateProbe(A, 0.05), CandidateProbe(B, 0.01)], None, B),
        ([CandidateProbe(A, 0.011), CandidateProbe(B, 0.01)], None, A),
        ([CandidateProbe(A, 0.0002), CandidateProbe(B, 0.0001)], None, A),
        ([CandidateProbe(A, 0.010), CandidateProbe(B, 0.015)], B, B),
        ([CandidateProbe(A, 0.010), CandidateProbe(B, 0.030)], B, A),
        ([away(A), CandidateProbe(B, 0.5)], A, B),
        ([CandidateProbe(A, 0.010, 1e6), CandidateProbe(B, 0.012, 100e6)], None, B),
        ([CandidateProbe(A, 0.010), CandidateProbe(B, 0.030, 100e6)], None, A),
        ([CandidateProbe(A, 0.010), CandidateProbe(B, 0.010)], C, A),
        ([CandidateProbe(A, 0.001, 5e6, None, SMALL), CandidateProbe(B, 0.06, 100e6, None, SMALL)], None, A),
        ([CandidateProbe(A, 0.001, 5e6, None, LARGE), CandidateProbe(B, 0.06, 100e6, None, LARGE)], None, B),
    ],
    ids=[
        "faster",
        "nearly as good: the order declared",
        "noise: the order declared",
        "still good: as before",
        "no longer good",
        "away",
        "throughput",
        "throughput of one alone says nothing",
        "the earlier one is declared no more",
        "small objects: latency",
        "large ones: throughput",
    ],
)
def test_choice(probes: list[CandidateProbe], before: str | None, expected: str) -> None:
    assert choose(probes, before) == expected


def test_with_none_in_reach_the_first_ones_error_is_told() -> None:
    with pytest.raises(ConnectionFailed, match="a:1 refused"):
        choose([away(A), away(B)])


class SlowBucket:
    """Answers after so many seconds of a clock of its own."""

    def __init__(self, seconds: float, size: int = 0, error: StoreError | None = None) -> None:
        self.now = 0.0
        self._seconds = seconds
        self._size = size
        self._error = error

    def clock(self) -> float:
        return self.now

    def list_objects(self, _prefix: str) -> Iterator[ListedObject]:
        if self._error is not None:
            raise self._error
        if self._size:
            yield ListedObject("k", self._size, "e", 0)

    def head(self, _key: str) -> None:
        self.now += self._seconds
        raise ObjectMissing("404")

    def get(self, _key: str, into: memoryview, *, start: int) -> None:
        assert start == 0
        self.now += self._seconds + len(into) / 10e6


def probed(bucket: SlowBucket) -> CandidateProbe:
    return probe_candidate(A, cast(ObjectStore, bucket), "", clock=bucket.clock)


def test_round_trip_and_throughput_are_measured() -> None:
    assert probed(SlowBucket(0.05)) == CandidateProbe(A, pytest.approx(0.05), None)
    found = probed(SlowBucket(0.05, size=5 * MIB))
    assert found.bytes_per_second == pytest.approx(10e6)
    assert found.score(MIB) == pytest.approx(0.05 + MIB / 10e6)
    assert probed(SlowBucket(0.05, size=1000)).bytes_per_second is None, "too small to tell"


def test_a_candidate_without_the_bucket_is_no_candidate() -> None:
    found = probed(SlowBucket(0.05, error=BucketMissing("no such bucket")))
    assert not found.reachable
    assert found.figures() == {"unreachable": "no such bucket"}


def test_the_choice_comes_first_and_changes_no_lineage() -> None:
    side = Side("b", endpoint_url=A, endpoint_candidates=(A, B, C))
    chosen = chosen_side(side, B)
    assert (chosen.endpoint_url, chosen.endpoint_candidates) == (B, (B, A, C))
    lineages = {
        lineage_of(Declaration("n", (Pair("main", end, Side("d", endpoint_url="http://d:4")),)))
        for end in (side, chosen)
    }
    assert len(lineages) == 1
