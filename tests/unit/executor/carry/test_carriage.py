"""What the extra calls of an object tell, held against its head."""

from __future__ import annotations

import pytest
from support.sample_plan import sample_plan

from executor.carry.carriage import read_source
from executor.route import Route
from schema.errors import ResponseUnreadable
from schema.objects import ObjectHead
from schema.plan import Action, Entry
from schema.tiers import GIB

ENTRY = Entry("photo", 3, "e", Action.COPY)


class Source:
    """Answers GetObjectTagging with *tags*."""

    def __init__(self, tags: tuple[tuple[str, str], ...]) -> None:
        self.tags = tags

    def get_tags(self, _key: str, *, version_id: str | None) -> tuple[tuple[str, str], ...]:
        assert version_id is None
        return self.tags


def route(tags: tuple[tuple[str, str], ...]) -> Route:
    plan = sample_plan()
    return Route(plan, plan.sections[0], Source(tags), Source(()), GIB)  # type: ignore[arg-type]


def counted(tags: str) -> ObjectHead:
    return ObjectHead({"x-amz-tagging-count": tags}, 3, "e")


def test_tags_that_the_head_counts_are_read() -> None:
    assert read_source(route((("a", "1"),)), ENTRY, counted("1")).tags == (("a", "1"),)


def test_an_answer_without_the_tags_that_the_head_counts_is_not_believed() -> None:
    with pytest.raises(ResponseUnreadable, match="'photo': no tags came back, but HEAD reports 2") as raised:
        read_source(route(()), ENTRY, counted("2"))

    assert raised.value.retryable, "the tags may have been taken away a moment ago: the next head says so"
    assert raised.value.key == "photo"


def test_an_object_without_tags_is_not_asked_for_them() -> None:
    assert read_source(route((("a", "1"),)), ENTRY, counted("0")).tags == ()
