"""What a batch's method changes at run time, and which pins of the endpoint are relied on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from support.sample_plan import sample_plan

from executor.copy.server import require_unchanged
from executor.route import Route
from schema.declaration import Preserve
from schema.errors import ObjectChanged
from schema.facts import Capabilities
from schema.objects import ObjectHead
from schema.plan import Action, Entry, Method
from schema.tiers import COPIED_PART, GIB, MAX_PART, MIB, WHOLE_MAX

PARTS_ETAG = "0123456789abcdef0123456789abcdef-2"
BEFORE = ObjectHead({}, 1, "before")
AFTER = ObjectHead({}, 1, "after")


class Source:
    """Answers every HEAD with the object as it is by now."""

    bucket = "source"

    def head(self, _key: str) -> ObjectHead:
        return AFTER


def runtime(method: Method | None, facts: Mapping[str, str] = {}) -> Route:
    plan = sample_plan(preserve=Preserve(part_layout=True))
    section = dataclasses.replace(plan.sections[0], destination_capabilities=Capabilities(facts))
    every = Route(plan, section, Source(), Source(), GIB)  # type: ignore[arg-type]
    return every.for_batch(dataclasses.replace(plan.batches[0], method=method))


@pytest.mark.parametrize(
    ("method", "size", "etag", "whole"),
    [
        (Method.STREAM, WHOLE_MAX, "e", True),
        (Method.STREAM, WHOLE_MAX + 1, "e", False),
        (Method.SERVER_COPY, MAX_PART, "e", True),
        (Method.SERVER_COPY, MAX_PART + 1, "e", False),
        (Method.STREAM, 1, PARTS_ETAG, False),
        (Method.SERVER_COPY, 1, PARTS_ETAG, False),
        (None, 1, "e", True),
    ],
)
def test_batches_of_one_section_are_cut_by_their_method(
    method: Method | None, size: int, etag: str, whole: bool
) -> None:
    section = runtime(method)
    assert section.is_whole(Entry("k", size, etag, Action.COPY)) is whole
    assert section.part_size(100 * MIB) == (COPIED_PART if method is Method.SERVER_COPY else 16 * MIB)


@pytest.mark.parametrize("size", [1, MAX_PART + 1])
@pytest.mark.parametrize("pins", [set(), {"copy_source_if_match"}, {"part_copy_source_if_match"}])
def test_the_source_is_looked_at_again_unless_that_very_request_was_pinned(size: int, pins: set[str]) -> None:
    section = runtime(Method.SERVER_COPY, dict.fromkeys(pins, "enforced"))
    entry = Entry("k", size, "before", Action.COPY)
    if pins == {"copy_source_if_match" if size == 1 else "part_copy_source_if_match"}:
        require_unchanged(section, entry, BEFORE)
    else:
        with pytest.raises(ObjectChanged, match="while the endpoint copied it"):
            require_unchanged(section, entry, BEFORE)
