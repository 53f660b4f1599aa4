"""When a reading is believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.sample_plan import sample_plan

from executor.attempts import Retrier
from executor.carry.readback import READINGS, settled
from executor.copy.job import Job, Tools
from executor.copy.reconcile import read_both
from executor.machine.buffers import BufferPool, ByteBudget
from executor.route import Route
from executor.stop import Stop
from executor.verify.objects import Depth, Differs, ObjectProver
from schema.errors import ObjectMissing
from schema.facts import Capabilities
from schema.objects import ObjectHead
from schema.plan import Action, Entry
from schema.tiers import GIB
from storage.port import Pin

EQUAL, BITTEN, BITTEN_TWICE, DIFFERENT = (1, 1), (9, 1), (1, 9), (1, 2)


@pytest.mark.parametrize(
    ("readings", "believed", "asked"),
    [
        ([EQUAL], EQUAL, 1),
        ([BITTEN, EQUAL], EQUAL, 2),
        ([BITTEN, BITTEN_TWICE, EQUAL], EQUAL, 3),
        ([DIFFERENT, DIFFERENT], DIFFERENT, 2),
        ([BITTEN, DIFFERENT, DIFFERENT], DIFFERENT, 3),
        ([DIFFERENT, BITTEN, DIFFERENT], DIFFERENT, 3),
        ([(1, n) for n in range(2, 2 + READINGS)], (1, 1 + READINGS), READINGS),
    ],
)
def test_a_difference_is_believed_when_it_is_found_twice(
    readings: Sequence[tuple[int, int]], believed: tuple[int, int], asked: int
) -> None:
    left = list(readings)
    assert settled(lambda: left.pop(0), lambda pair: pair[0] == pair[1]) == believed
    assert len(readings) - len(left) == asked


class Stating:
    """A store whose answers state a version id; a GET of any version but *kept* finds nothing, as without versions.

    With a version stated, the first reading is bitten on the way: it is read again.
    """

    bucket = "b"

    def __init__(self, stated: str | None, *, kept: str | None = None) -> None:
        headers = {} if stated is None else {"x-amz-version-id": stated}
        self.answer, self.kept, self.asked = ObjectHead(headers, 4, "e"), kept, list[str | None]()

    def head(self, _key: str, **_: Any) -> ObjectHead:
        return self.answer

    def get(self, key: str, into: memoryview, *, pin: Pin, **_: Any) -> ObjectHead:
        self.asked.append(pin.version_id)
        if pin.version_id not in (None, self.kept):
            raise ObjectMissing("no such version", operation="GetObject", key=key, status=404)
        into[:] = b"bite" if self.answer.headers and len(self.asked) == 1 else b"same"
        return self.answer


def between(source: Stating, destination: Stating, facts: Mapping[str, str]) -> Route:
    plan = sample_plan()
    section = dataclasses.replace(plan.sections[0], destination_capabilities=Capabilities(facts))
    return Route(plan, section, source, destination, GIB)  # type: ignore[arg-type]


TOOLS = Tools(BufferPool(ByteBudget(1 << 20)), Retrier(Stop(), lambda: 0.0, lambda _stop: None), Stop())
ENTRY = Entry("k", 4, "e", Action.COPY)


def proven(route: Route) -> bool:
    """Whether verify reads the same bytes at both ends; the sample plan's encryption is another matter."""
    found = ObjectProver(route, Depth.CONTENT, TOOLS).prove(ENTRY, None).differences
    return all(difference.what is Differs.ATTRIBUTE for difference in found)


def copied(route: Route) -> bool:
    """Whether apply reads the same bytes at both ends."""
    job = cast(Job, SimpleNamespace(route=route, entry=ENTRY, tools=TOOLS, read_as=None, scratch=None))
    ours, theirs = read_both(job, cast(Stating, route.destination).answer)
    return ours is not None and ours == theirs


@pytest.mark.parametrize("same", [copied, proven])
@pytest.mark.parametrize("stated", ["null", "nonsense", None])
def test_an_endpoint_without_versions_is_asked_for_none(stated: str | None, same: Callable[[Route], bool]) -> None:
    destination = Stating(stated)
    assert same(between(Stating(None), destination, {}))
    assert destination.asked == [None] * (1 if stated is None else 2)


@pytest.mark.parametrize(("same", "again"), [(copied, None), (proven, "v")])
def test_apply_needs_no_right_to_versions_and_verify_reads_again_the_one_it_has_seen(
    same: Callable[[Route], bool], again: str | None
) -> None:
    destination = Stating("v", kept="v")
    assert same(between(Stating(None), destination, {"versioning": "enforced"}))
    assert destination.asked == [None, again]
