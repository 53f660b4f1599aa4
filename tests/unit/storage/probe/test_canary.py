"""Checks side by side: far endpoints only, results in order, nothing under way when an error is raised."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest

from schema.errors import ObjectMissing, StorageFull, Throttled
from schema.objects import WriteResult
from storage.port import ObjectStore
from storage.probe.canary import AT_ONCE, FAR_SECONDS, SHOWN_LATE_SECONDS, Canary, Conduct
from storage.probe.keys import write_odd_keys
from storage.retrying import Retry, RetryPolicy

NOWHERE = cast(ObjectStore, None)


def canary(
    seconds: float,
    store: ObjectStore = NOWHERE,
    *,
    wait: Callable[[threading.Event, float], object] = threading.Event.wait,
) -> Canary:
    """Of an endpoint whose every answer takes so long."""
    ticks = itertools.count()
    conduct = Conduct(Retry(RetryPolicy(attempts=1), clock=lambda: next(ticks) * seconds), wait=wait)
    asked = Canary(store, "", "t", conduct=conduct)
    asked.ask(lambda: None)
    return asked


def all_together(count: int) -> list[Callable[[], int]]:
    """Checks of which each waits for the others, and says its number and no thread's."""
    barrier = threading.Barrier(count, timeout=10)

    def check(number: int) -> int:
        barrier.wait()
        return number

    return [lambda number=number: check(number) for number in range(count)]  # type: ignore[misc]


def until_abandoned(asked: Canary) -> None:
    """Wait for what the thread of another check does right after it has failed."""
    given_up = time.monotonic() + 10
    while not asked._abandoned.is_set():
        assert time.monotonic() < given_up


def test_what_is_far_away_is_asked_side_by_side_and_answers_in_order() -> None:
    assert canary(FAR_SECONDS).each(all_together(AT_ONCE)) == list(range(AT_ONCE))


def test_what_is_near_is_asked_in_turn() -> None:
    threads = canary(FAR_SECONDS / 2).each([threading.current_thread] * 3)

    assert threads == [threading.current_thread()] * 3


def test_one_quick_answer_is_enough_to_be_near() -> None:
    asked = canary(FAR_SECONDS)
    assert asked.far
    asked._quickest = 0.001
    asked.ask(lambda: None)

    assert not asked.far


def test_nothing_was_asked_yet_is_not_far() -> None:
    assert not Canary(NOWHERE, "", "t").far


def test_an_error_is_raised_when_no_check_is_under_way_and_none_begins_another_request() -> None:
    asked, failed, ended = canary(FAR_SECONDS), threading.Event(), threading.Event()
    requests: list[str] = []

    def failing() -> None:
        try:
            raise StorageFull("full")
        finally:
            failed.set()

    def slow() -> None:
        failed.wait(10)
        until_abandoned(asked)
        ended.set()
        asked.ask(lambda: requests.append("sent"))

    with pytest.raises(StorageFull):
        asked.each([slow, failing])
    assert ended.is_set()
    assert not requests


def test_an_error_of_checks_within_checks_is_told_as_it_is() -> None:
    asked, failed = canary(FAR_SECONDS), threading.Event()

    def other() -> None:
        failed.wait(10)
        until_abandoned(asked)
        asked.ask(lambda: None)

    def inner() -> None:
        failed.set()
        raise StorageFull("full")

    with pytest.raises(StorageFull):
        asked.each([other, lambda: asked.each([other, inner])])  # type: ignore[list-item]


@pytest.mark.parametrize("stopped", [True, False])
def test_an_interrupt_ends_the_waits_between_attempts(monkeypatch: pytest.MonkeyPatch, stopped: bool) -> None:
    """*stopped*: by Ctrl-C; the control: the waits come to their end."""
    waits, told = threading.Barrier(3), list[object]()

    def waiting(abandoned: threading.Event, seconds: float) -> None:
        assert seconds == 20.0
        waits.wait(10)
        told.append(abandoned.wait(10 if stopped else 0))

    def pressed(_under_way: object) -> None:
        waits.wait(10)
        if stopped:
            raise KeyboardInterrupt

    asked, answers = canary(FAR_SECONDS, wait=waiting), iter([Throttled("slow down", retry_after=20.0)] * 2)

    def throttled() -> str:
        error = next(answers, None)
        if error is not None:
            raise error
        return "sent again"

    monkeypatch.setattr("storage.probe.canary.wait", pressed)
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            asked.each([lambda: asked.ask(throttled)] * 2)
    else:
        assert asked.each([lambda: asked.ask(throttled)] * 2) == ["sent again"] * 2
    assert told == [stopped] * 2


class Late:
    """Shows what was put after so many looks."""

    bucket = "b"

    def __init__(self, looks: int) -> None:
        self.looks: dict[str, int] = {}
        self.needed = looks

    def put(self, key: str, *_: object, **__: object) -> WriteResult:
        self.looks[key] = 0
        return WriteResult("e", None, {})

    def head(self, key: str) -> str:
        self.looks[key] += 1
        if self.looks[key] <= self.needed:
            raise ObjectMissing("not yet", operation="HeadObject", key=key, status=404)
        return "shown"


@pytest.mark.parametrize(("seconds", "shown"), [(FAR_SECONDS, 5), (FAR_SECONDS / 2, 1)])
def test_checks_side_by_side_are_as_patient_as_those_in_turn(seconds: float, shown: int) -> None:
    looks = len(SHOWN_LATE_SECONDS) // 2 + 1
    store, together = Late(looks), [threading.Barrier(shown)]
    asked = canary(seconds, cast(ObjectStore, store), wait=lambda _abandoned, _seconds: together[0].wait(10))

    def check(name: str) -> bool:
        asked.put(name, b"x")
        return asked.ask(lambda: store.head(asked.key(name))) == "shown"

    assert sum(asked.each([partial(check, name) for name in "abcde"])) == shown
    together[0] = threading.Barrier(1)
    store.needed = 0
    assert check("f")  # whatever was spent
    store.needed = looks
    assert not check("g")  # together they have spent what one has


def test_nested_checks_ask_no_more_at_once_than_others() -> None:
    asked, too_many, under_way = canary(FAR_SECONDS), threading.Event(), list[None]()

    def request() -> None:
        under_way.append(None)
        if len(under_way) > AT_ONCE:
            too_many.set()
        too_many.wait(0.05)
        under_way.pop()

    def within() -> list[object]:
        return asked.each([lambda: asked.ask(request)] * 4)

    asked.each([within] * 4)
    assert not too_many.is_set()


@pytest.mark.parametrize("name", ["base/e", "f/e"])
def test_canaries_that_a_server_may_take_for_one_another_are_written_in_turn(name: str) -> None:
    begun = threading.Event()

    class Store:
        def put(self, key: str, *_: object, **__: object) -> WriteResult:
            if key.endswith("/BASE"):
                meanwhile.append(begun.wait(0.05 if name == "base/e" else 10))
            elif key.endswith(f"t/{name}"):
                begun.set()
            return WriteResult("e", None, {})

    meanwhile: list[bool] = []
    write_odd_keys(canary(FAR_SECONDS, cast(ObjectStore, Store())))
    assert begun.is_set() and meanwhile == [name != "base/e"]
