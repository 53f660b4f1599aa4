"""A listed key ends in a batch, in a side manifest, or the plan fails: one key is dropped at each seam on its way.

The listing is read from real pages; the count it is held against is taken of these, before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.listing_server import ListingServer, list_objects, list_versions, listed, objects_page
from support.planning import MemoryManifests, declare, pair_inputs
from support.sample_plan import check_plan

from planner import section as section_module
from planner.batches import BatchCutter
from planner.build import build_plan
from planner.delivery import Delivery
from planner.inputs import PlanInputs
from planner.section import SectionPlanner
from planner.stocktaking import Stocktaker
from schema.declaration import Filters, Policy
from schema.errors import ListingRefused, PlanCorrupt
from schema.files.manifest import ManifestWriter
from schema.files.plan_document import to_document
from schema.plan import Plan
from storage.listing import listing as listing_module
from storage.listing import ordinary
from storage.listing.asking import ListingHabits
from storage.listing.page import PageReader
from storage.listing.ranges import Ranges
from storage.listing.settle import Settler
from storage.port import Believe, Listing
from storage.retrying import Retry

COUNT = 60
NAMES = [f"k{number:03d}" for number in range(COUNT)]


class Store:
    """A bucket whose pages come from *server*."""

    bucket = "bucket"

    def __init__(self, server: ListingServer, *, unordered: bool = False) -> None:
        self._server = server
        self._habits = ListingHabits(unordered=unordered)

    def list_objects(
        self,
        prefix: str,
        *,
        start_after: str = "",  # noqa: ARG002
        parallel: int = 1,
        believe: Believe = Believe.LISTING,  # noqa: ARG002
    ) -> Listing:
        return list_objects(
            self._server, "bucket", prefix, parallel=parallel, habits=self._habits, retry=Retry(wait=lambda _s: None)
        )

    def list_versions(
        self,
        prefix: str,
        *,
        start_after: str = "",  # noqa: ARG002
        believe: Believe = Believe.LISTING,  # noqa: ARG002
    ) -> Listing:
        return list_versions(self._server, "bucket", prefix, habits=self._habits)


def planned(tmp_path: Path, *, unordered: bool = False, versions: bool = False, parallel: int = 1) -> Plan:
    """Half of the source is at the destination, which has keys of its own; some are excluded."""
    more = {"version_id": "v1"} if versions else {}
    source = ListingServer([listed(name, **more) for name in NAMES], page_size=10)
    there = [listed(name, **more) for name in (*NAMES[::2], *(f"z{number:02d}" for number in range(15)))]
    declaration = declare(filters=Filters(exclude=("k01*",)), policy=Policy(versions="all" if versions else "latest"))
    ends = (Store(server, unordered=unordered) for server in (source, ListingServer(there, page_size=10)))
    inputs = pair_inputs(declaration, *ends, parallel=parallel)
    made = build_plan(PlanInputs(declaration, {"main": inputs}, MemoryManifests(), tmp_path / "s", 1 << 28))
    check_plan(to_document(made), made)
    return made


def without_one(kept: Callable[..., Iterable[Any]], place: int = 0) -> Callable[..., Any]:
    """*kept*, whose outcome lacks an item the first time it has more than *place*."""
    dropped: list[bool] = []

    def dropping(*arguments: Any, **named: Any) -> Any:
        found = kept(*arguments, **named)
        if found is None:
            return None
        items = list(found)
        if not dropped and len(items) > place:
            dropped.append(True)
            del items[place]
        return type(found)(items) if isinstance(found, tuple) else items

    return dropping


def lazily_without_one(kept: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def dropping(*arguments: Any) -> Iterator[Any]:
        return (item for number, item in enumerate(kept(*arguments)) if number != 7)

    return dropping


def skipping_one(kept: Callable[..., None]) -> Callable[..., None]:
    calls = iter(range(10**6))

    def dropping(*arguments: Any) -> None:
        if next(calls) != 3:
            kept(*arguments)

    return dropping


SEAMS: dict[str, tuple[object, str, Callable[..., Any], dict[str, Any]]] = {
    "page, quick way": (ordinary, "entries", without_one, {}),
    "page, long way": (PageReader, "_entries", without_one, {"long": True}),
    "ranges": (Ranges, "pop", without_one, {}),
    "ranges, parallel": (Ranges, "pop", without_one, {"parallel": 4}),
    "settling": (Settler, "settle", without_one, {}),
    "sorting": (listing_module._Walk, "_without_repeats", lazily_without_one, {"unordered": True}),
    "history": (listing_module.Histories, "oldest_first", without_one, {"versions": True}),
    "taking stock": (Stocktaker, "take", lazily_without_one, {}),
    "mapping and filters": (SectionPlanner, "_mapped", lazily_without_one, {}),
    "march": (section_module, "march", lazily_without_one, {}),
    "decisions": (SectionPlanner, "_objects", lazily_without_one, {}),
    "decisions of versions": (SectionPlanner, "_histories", lazily_without_one, {"versions": True}),
    "dispatch": (Delivery, "_dispatch", skipping_one, {}),
    "batches": (BatchCutter, "add", skipping_one, {}),
    "manifests": (ManifestWriter, "add", skipping_one, {}),
}


@pytest.mark.parametrize("seam", SEAMS)
def test_a_key_dropped_on_its_way_fails_the_plan(seam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, drop, how = SEAMS[seam]
    how = dict(how)
    if how.pop("long", False):
        monkeypatch.setattr(ordinary, "cut", lambda _body: None)
    monkeypatch.setattr(where, name, drop(getattr(where, name)))

    with pytest.raises((PlanCorrupt, ListingRefused)):
        planned(tmp_path, **how)


@pytest.mark.parametrize(
    "how", [{}, {"unordered": True}, {"versions": True}, {"parallel": 4}, {"versions": True, "unordered": True}]
)
def test_control_a_plan_that_drops_nothing_accounts_for_every_key(how: dict[str, Any], tmp_path: Path) -> None:
    summary = planned(tmp_path, **how).sections[0].summary

    assert summary["listed"].objects == COUNT
    assert sum(summary[name].objects for name in ("copy", "skip", "excluded") if name in summary) == COUNT
    assert summary["extraneous"].objects == 15


def test_an_entry_that_a_page_shows_and_no_reader_sees_fails_the_listing() -> None:
    body = objects_page(map(listed, NAMES), extra="<!--<Contents></Contents>-->")
    with pytest.raises(ListingRefused, match="could be read"):
        list(list_objects(lambda _query: body, "bucket", "", retry=Retry(wait=lambda _s: None)))
