"""The order of one key's versions where markers are listed apart and times are whole seconds."""

from __future__ import annotations

import pytest

from schema.objects import ListedObject
from storage.listing.entry import Times
from storage.listing.history import Histories, VersionOrder
from storage.listing.settle import Settler
from storage.port import PageTally


def version(name: str, modified_ms: int, *, latest: bool = False, marker: bool = False) -> ListedObject:
    return ListedObject("k", 1, "e", modified_ms, version_id=name, is_latest=latest, delete_marker=marker)


def marker(modified_ms: int) -> ListedObject:
    return version("m", modified_ms, latest=True, marker=True)


@pytest.mark.parametrize(
    ("listed", "oldest_first", "unclear"),
    [
        ([version("b", 5), version("a", 5), marker(5)], "abm", True),  # either a server that turns all round, or this
        ([version("b", 6), version("a", 5), marker(6)], "abm", False),
        ([version("a", 5), version("b", 6), marker(7)], "abm", False),
        ([marker(5), version("b", 5), version("a", 5)], "abm", False),  # S3's own way: the control
        ([version("b", 5, latest=True), version("a", 5)], "ab", False),
        ([version("a", 5), version("b", 5, latest=True)], "ab", False),
        ([version("a", 5), marker(5)], "am", False),
        ([marker(5)], "m", False),
    ],
)
def test_a_marker_listed_last_does_not_turn_the_versions_round(
    listed: list[ListedObject], oldest_first: str, unclear: bool
) -> None:
    tally = PageTally()
    histories = Histories(Settler(None, Times()), VersionOrder(tally, lambda: True), 1 << 20)
    assert "".join(str(found.version_id) for found in histories.oldest_first(iter(listed))) == oldest_first
    assert bool(tally.unclear_keys) is unclear
