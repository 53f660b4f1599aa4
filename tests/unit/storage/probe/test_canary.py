"""Checks side by side: far endpoints only, results in order, nothing under way when an error is raised."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import cast

import pytest

from schema.errors import StorageFull
from storage.port import ObjectStore
from storage.probe.canary import AT_ONCE, FAR_SECONDS, Canary, Conduct
from storage.retrying import Retry, RetryPolicy

NOWHERE = cast(ObjectStore, None)


def canary(seconds: float) -> Canary:
    """Of an endpoint whose every answer takes so long."""
    ticks = itertools.count()
    conduct = Conduct(Retry(RetryPolicy(attempts=1), clock=lambda: next(ticks) * seconds))
    asked = Canary(NOWHERE, "", "t", conduct=conduct)
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
    while not asked._abandoned:
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
