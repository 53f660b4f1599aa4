"""Requests are counted by side and class, by many threads, and what a thread waits for can be seen meanwhile."""

from __future__ import annotations

import threading

from executor import activity
from executor.flow.counters import FORGET_FROM
from executor.flow.endpoint import EndpointGovernor
from executor.flow.side_counters import SideCounters, SideObserver
from schema.errors import ObjectMissing, RequestTimedOut, StoreError, Throttled
from schema.flow.request_classes import RequestClass
from schema.flow.samples import Activity
from storage.port import RequestSample


def sample(operation: str, error: StoreError | None = None) -> RequestSample:
    return RequestSample(operation, 0.5, 0.1, 100, error)


def observer(counters: SideCounters) -> SideObserver:
    return SideObserver(EndpointGovernor("here:443"), counters, Activity.SOURCE)


def test_requests_are_counted_by_class_and_by_what_became_of_them() -> None:
    counters = SideCounters()
    seen = observer(counters)
    for said in (
        sample("GetObject"),
        sample("HeadObject", ObjectMissing("gone")),
        sample("GetObject", Throttled("slow down")),
        sample("ListObjectsV2", RequestTimedOut("nothing came")),
    ):
        seen.before(said.operation, 0)
        seen.after(said)
    counts = counters.counts()
    assert counts.requests == {RequestClass.GET: 3, RequestClass.LIST: 1}
    assert (counts.throttled, counts.failed) == (1, 1)
    assert (counts.bytes, counts.seconds) == (100, 0.5)
    assert counts.total == 4


def test_a_thread_is_at_the_side_it_asks_and_at_work_again_afterwards() -> None:
    seen = observer(SideCounters())
    mine = activity.mine()
    seen.before("GetObject", 0)
    assert mine.doing is Activity.SOURCE
    seen.after(sample("GetObject"))
    assert mine.doing is Activity.WORKING


def test_a_held_request_shows_what_holds_it() -> None:
    at: list[tuple[Activity, str]] = []

    def wait(_seconds: float) -> bool:
        at.append((activity.mine().doing, activity.mine().limit))
        return True

    endpoint = EndpointGovernor("here:443", clock=lambda: 0.0, wait=wait)
    endpoint.set_limits({"requests_per_second": 1.0})
    for _ in range(3):
        endpoint.before("GetObject", 0)
    assert set(at) == {(Activity.LIMIT, "requests_per_second")}
    assert activity.mine().doing is Activity.WORKING


def test_what_ended_threads_counted_is_kept() -> None:
    counters = SideCounters()
    seen = observer(counters)

    def ask() -> None:
        seen.before("GetObject", 0)
        seen.after(sample("GetObject"))

    for _ in range(FORGET_FROM + 10):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert counters.counts().requests == {RequestClass.GET: FORGET_FROM + 10}
