"""Keys that a listing does not tell enough of: unsupported by name, excludable, and everything else is planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.planning import Bucket, MemoryManifests, declare, listed, moved, plan, side
from support.sample_plan import check_plan

from schema.declaration import Filters, MappingRule, Policy
from schema.files.plan_document import to_document
from schema.objects import ListedEntry, UnsupportedEntry
from schema.plan import VERSION_ORDER, Entry, Plan
from storage.port import Believe, Listing, PageTally

DELETING = Policy(delete_extraneous="after-verify")
HISTORY = Policy(versions="all")


def unsupported(key: str, version: str | None = None, size: int | None = None) -> UnsupportedEntry:
    return UnsupportedEntry(key, size, None, None, version, False, "it is odd")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.manifests = MemoryManifests()
        self._folder = folder

    def plan(self, source: list[Any], destination: list[Any] = [], **more: Any) -> Plan:  # noqa: B006
        made = plan(
            declare(**{name: more.pop(name) for name in ("filters", "policy", "mapping") if name in more}),
            source,
            destination,
            manifests=self.manifests,
            staging=self._folder,
            **more,
        )
        check_plan(to_document(made), made)
        return made

    def side(self, made: Plan, name: str) -> list[Entry]:
        return side(made, self.manifests, name)

    def moved(self, made: Plan) -> list[str]:
        return [entry.key for entry in moved(made, self.manifests)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


BAD = "b\udcff"


def test_one_bad_key_is_unsupported_by_name_and_the_rest_is_planned(bench: Bench) -> None:
    made = bench.plan([listed("a"), unsupported(BAD), listed("c")])

    assert bench.moved(made) == ["a", "c"]
    assert [(entry.key, entry.reason) for entry in bench.side(made, "unsupported")] == [(BAD, "it is odd")]
    assert "unsupported" in [risk.id for risk in made.risks]


def test_one_bad_key_exclude_works_on_it(bench: Bench) -> None:
    made = bench.plan([listed("a"), unsupported(BAD), listed("c")], filters=Filters(exclude=("b?",), min_size=1))

    assert bench.moved(made) == ["a", "c"]
    assert [entry.key for entry in bench.side(made, "excluded")] == [BAD]
    assert "unsupported" not in made.sections[0].side_manifests


def test_one_bad_key_control_without_it_nothing_is_unsupported(bench: Bench) -> None:
    made = bench.plan([listed("a"), listed("c")])

    assert "unsupported" not in made.sections[0].side_manifests


def test_sizes_and_times_do_not_filter_what_is_not_known(bench: Bench) -> None:
    made = bench.plan([unsupported("b")], filters=Filters(min_size=5, modified_after_ms=5, storage_classes=("X",)))

    assert [entry.key for entry in bench.side(made, "unsupported")] == ["b"]


def test_what_the_destination_does_not_tell_keeps_the_key_from_being_written(bench: Bench) -> None:
    made = bench.plan([listed("a"), listed("b")], [unsupported("b"), unsupported("z")], policy=DELETING)

    assert bench.moved(made) == ["a"]
    assert [entry.reason for entry in bench.side(made, "unsupported")] == ["at the destination: it is odd"]
    assert [(entry.key, entry.reason) for entry in bench.side(made, "extraneous")] == [("z", "it is odd")]


def test_an_unsupported_key_collides_with_nothing(bench: Bench) -> None:
    """It will not exist at the destination."""
    rules = (MappingRule("x|y", "z"),)
    made = bench.plan([listed("x"), unsupported("y")], mapping=rules)

    assert bench.moved(made) == ["x"]
    assert [entry.key for entry in bench.side(made, "unsupported")] == ["y"]


def test_versions_latest_the_history_of_one_key_is_unsupported_and_others_are_planned(bench: Bench) -> None:
    history: list[ListedEntry] = [
        listed("a", version_id="1"), unsupported("b", "1"), unsupported("b", "2"), listed("c", version_id="1"),
    ]  # fmt: skip
    made = bench.plan(history, policy=HISTORY)

    assert bench.moved(made) == ["a", "c"]
    assert [entry.version_id for entry in bench.side(made, "unsupported")] == ["1", "2"]


def test_versions_latest_at_the_destination_keeps_the_key_as_it_is(bench: Bench) -> None:
    there: list[ListedEntry] = [unsupported("a", "9"), listed("a", version_id="8"), unsupported("z", "7")]
    made = bench.plan([listed("a", version_id="1"), listed("b", version_id="1")], there, policy=HISTORY)

    assert bench.moved(made) == ["b"]
    assert [entry.key for entry in bench.side(made, "unsupported")] == ["a"]
    assert [entry.key for entry in bench.side(made, "extraneous")] == ["z"]


def test_versions_with_an_excluded_and_an_unsupported_one_are_told_apart(bench: Bench) -> None:
    history: list[ListedEntry] = [listed("a", 1, version_id="1"), unsupported("a", "2"), listed("a", 9, version_id="3")]
    made = bench.plan(history, policy=HISTORY, filters=Filters(min_size=5))

    assert [entry.version_id for entry in bench.side(made, "excluded")] == ["1"]
    assert [entry.version_id for entry in bench.side(made, "unsupported")] == ["2"]
    assert bench.moved(made) == ["a"]


class Unclear(Bucket):
    """Its listing does not tell the order of one key's versions."""

    def list_versions(
        self,
        prefix: str,
        *,
        start_after: str = "",  # noqa: ARG002
        believe: Believe = Believe.LISTING,  # noqa: ARG002
    ) -> Listing:
        tally = PageTally(len(self.objects))
        tally.unclear("a")
        return Listing(self._listed(prefix), tally)


@pytest.mark.parametrize("kind", [Unclear, Bucket])
def test_versions_in_the_same_second_are_a_risk_by_name_before_anything_moves(bench: Bench, kind: type[Bucket]) -> None:
    history = [listed("a", version_id="1"), listed("a", version_id="2")]
    made = bench.plan(kind(history), policy=HISTORY)  # type: ignore[arg-type]

    found = [risk for risk in made.risks if risk.id == VERSION_ORDER]
    assert len(found) == (kind is Unclear)
    assert all(risk.level == "high" and "'a'" in risk.text for risk in found)


@pytest.mark.parametrize("fact", ["ignored", "enforced"])
def test_list_etag_differs_makes_the_plan_ask_each_object(bench: Bench, fact: str) -> None:
    source, destination = Bucket([listed("a")]), Bucket()
    bench.plan(source, destination, facts=({"listed_etag": fact}, {}))  # type: ignore[arg-type]

    assert source.believed == [Believe.HEAD if fact == "ignored" else Believe.LISTING]
    assert destination.believed == [Believe.LISTING]
