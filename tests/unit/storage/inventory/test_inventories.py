"""A plan made from an inventory is the plan made from a listing; a wrong inventory is told and refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.inventories import CSV_NAMES, CURRENT, MADE_MS, Written, signed, write_report
from support.planning import Bucket, MemoryManifests, declare, listed, moved, pair_inputs, side

from planner.build import build_plan
from planner.inputs import PlanInputs
from s3migrate.planning.inventories import InventoryReader
from schema.declaration import DeclaredInventory, MissingValues, Policy
from schema.errors import InputMissing, InventoryCorrupt, ObjectMissing, StalePlan, UsageError
from schema.objects import ListedObject, ObjectHead
from schema.plan import ListingKind, Plan
from schema.timeouts import Timeouts
from storage.inventory.report import ReportFormat
from storage.inventory.source import Absent
from storage.listing.source import BucketSource

ODD = ["a b", "a+b", "a%2Fb", "ä/ö", "x,y", 'q"q', "line\nfeed", "/slash", "a//b", "日本"]
OBJECTS = [
    *(listed(f"photos/{n:04}.jpg", size=n, modified=1_700_000_000_000 + n * 1000) for n in range(60)),
    *(listed(key, size=7, modified=1_700_000_000_000, storage_class="STANDARD_IA") for key in ODD),
]
LATEST = Policy()
NOW = MADE_MS / 1000 + 34 * 3600


class Headed(Bucket):
    """A bucket whose objects can be asked for by HEAD, too."""

    def head(self, key: str, *, version_id: str | None = None, extra: Any = ()) -> ObjectHead:
        assert (version_id, extra) == (None, ())
        found = next((item for item in self.objects if item.key == key), None)
        if not isinstance(found, ListedObject):
            raise ObjectMissing("no such key", key=key, status=404)
        when = formatdate(found.modified_ms // 1000, usegmt=True)
        headers = {"content-length": str(found.size), "last-modified": when, "x-amz-storage-class": found.storage_class}
        return ObjectHead(headers, found.size, found.etag)


def shuffled(objects: Iterable[ListedObject]) -> list[ListedObject]:
    items = list(objects)
    random.Random(7).shuffle(items)
    return items


def planned(
    tmp_path: Path,
    source: Bucket,
    destination: Iterable[ListedObject] = (),
    *,
    inventory: DeclaredInventory | None = None,
    there: DeclaredInventory | None = None,
    policy: Policy = LATEST,
) -> tuple[Plan, MemoryManifests]:
    """A plan of *source*, read from *inventory* where one is given, and the same of the other side."""
    declaration = declare(policy=policy)
    pair = declaration.pairs[0]
    other = Headed(destination)
    inputs = pair_inputs(declaration, source, other)
    reader = InventoryReader(tmp_path, Timeouts(), lambda: NOW)
    if inventory is not None:
        assert isinstance(inputs.source, BucketSource)
        read = reader.source(inventory, pair.source, bucket=inputs.source, absent=Absent.UNSUPPORTED)
        inputs = dataclasses.replace(inputs, source=read)
    if there is not None:
        assert isinstance(inputs.destination, BucketSource)
        read = reader.source(there, pair.destination, bucket=inputs.destination, absent=Absent.PASSED_OVER)
        inputs = dataclasses.replace(inputs, destination=read)
    manifests = MemoryManifests()
    return build_plan(PlanInputs(declaration, {"main": inputs}, manifests, tmp_path, 1 << 28)), manifests


def report(tmp_path: Path, written: Written) -> DeclaredInventory:
    written.under(tmp_path)
    return DeclaredInventory(report=written.manifest)


def key_list(tmp_path: Path, name: str, text: str, **more: Any) -> DeclaredInventory:
    (tmp_path / name).write_bytes(text.encode())
    return DeclaredInventory(keys=name, **more)


def changed(written: Written, change: Callable[[dict[str, Any]], object]) -> Written:
    """*written* with another manifest, its checksum right."""
    document = json.loads(written.files[written.manifest])
    change(document)
    return signed(written._replace(files={**written.files, written.manifest: json.dumps(document).encode()}))


def as_json(item: ListedObject) -> str:
    fields = {"Key": item.key, "Size": item.size, "ETag": f'"{item.etag}"', "LastModified": item.modified_ms}
    return json.dumps({**fields, "StorageClass": item.storage_class})


def as_csv(item: ListedObject) -> str:
    key = item.key.replace('"', '""')
    when = datetime.fromtimestamp(item.modified_ms // 1000, UTC).isoformat()
    return f'"{key}",{item.size},{item.etag},{when},{item.storage_class}\n'


# --- the same plan


@pytest.mark.parametrize("form", ReportFormat)
def test_a_report_of_each_format_gives_the_plan_of_a_listing(tmp_path: Path, form: ReportFormat) -> None:
    destination = OBJECTS[10:30]
    by_listing, listed_entries = planned(tmp_path, Headed(OBJECTS), destination)
    inventory = report(tmp_path, write_report(shuffled(OBJECTS), form))

    by_report, entries = planned(tmp_path, Headed(), destination, inventory=inventory)

    assert by_report.sections == by_listing.sections
    assert by_report.batches == by_listing.batches
    assert moved(by_report, entries) == moved(by_listing, listed_entries)
    assert {risk.id for risk in by_report.risks} == {"inventory", *(risk.id for risk in by_listing.risks)}
    assert "made 2026-09-21T14:13:20Z" in next(risk.text for risk in by_report.risks if risk.id == "inventory")


@pytest.mark.parametrize(
    ("name", "text", "more"),
    [
        ("keys.jsonl", "\n".join(map(as_json, OBJECTS)), {}),
        (
            "keys.csv",
            "Key,Size,ETag,LastModifiedDate,StorageClass\n" + "".join(map(as_csv, OBJECTS)),
            {},
        ),
        ("keys", "\n".join(o.key for o in OBJECTS if "\n" not in o.key), {}),
        ("bare.jsonl", "\n".join(json.dumps(o.key) for o in OBJECTS), {}),
        (
            "batch.csv",
            "".join(f"from,{quote(o.key)}\n" for o in OBJECTS),
            {"columns": ("bucket", "key"), "url_encoded": True},
        ),
    ],
)
def test_a_key_list_gives_the_plan_of_a_listing(tmp_path: Path, name: str, text: str, more: dict[str, Any]) -> None:
    objects = [o for o in OBJECTS if name != "keys" or "\n" not in o.key]
    by_listing, listed_entries = planned(tmp_path, Headed(objects), OBJECTS[10:30])
    inventory = key_list(tmp_path, name, text, **more)

    by_list, entries = planned(tmp_path, Headed(objects), OBJECTS[10:30], inventory=inventory)

    assert by_list.sections == by_listing.sections
    assert moved(by_list, entries) == moved(by_listing, listed_entries)
    asked = [risk for risk in by_list.risks if risk.id == "inventory-heads"]
    assert len(asked) == (name not in ("keys.jsonl", "keys.csv"))
    assert all(f"{len(objects)} objects" in risk.text for risk in asked)


def test_the_destination_may_be_read_from_an_inventory_too(tmp_path: Path) -> None:
    by_listing, _ = planned(tmp_path, Headed(OBJECTS), OBJECTS[10:30])
    there = report(tmp_path, write_report(shuffled(OBJECTS[10:30]), ReportFormat.CSV, bucket="to"))
    by_report, _ = planned(tmp_path, Headed(OBJECTS), there=there)
    assert by_report.sections == by_listing.sections


def history() -> list[ListedObject]:
    """Newest first, as servers list versions."""
    return [
        listed("a", version_id="3", modified=3_000),
        listed("a", size=2, version_id="2", modified=2_000, is_latest=False),
        ListedObject("a", 0, "", 1_500, version_id="m1", is_latest=False, delete_marker=True),
        listed("a", size=1, version_id="null", modified=1_000, is_latest=False),
        ListedObject("gone", 0, "", 9_000, version_id="m2", delete_marker=True),
        listed("gone", size=5, version_id="1", modified=8_000, is_latest=False),
    ]


@pytest.mark.parametrize("form", ReportFormat)
def test_versions_and_delete_markers_are_read_with_all_versions_and_passed_over_without(
    tmp_path: Path, form: ReportFormat
) -> None:
    everything = history()
    oldest_first = [everything[i] for i in (3, 2, 1, 0, 5, 4)]
    inventory = report(tmp_path, write_report(shuffled(everything), form, columns=CSV_NAMES))

    all_versions = Policy(versions="all")
    by_listing, listed_entries = planned(tmp_path, Headed(oldest_first, sort=False), policy=all_versions)
    by_report, entries = planned(tmp_path, Headed(), inventory=inventory, policy=all_versions)
    assert by_report.sections == by_listing.sections
    assert by_report.sections[0].source_inventory.kind is ListingKind.VERSIONS
    assert moved(by_report, entries) == moved(by_listing, listed_entries)

    current = [everything[0]._replace(version_id=None)]
    by_listing, _ = planned(tmp_path, Headed(current))
    by_report, _ = planned(tmp_path, Headed(), inventory=inventory)
    assert by_report.sections == by_listing.sections


def test_versions_of_one_time_are_of_unknown_order(tmp_path: Path) -> None:
    twins = [everything._replace(modified_ms=1_000) for everything in history()[:2]]
    older = listed("a", size=4, version_id="0", modified=1_000, is_latest=False)
    inventory = report(tmp_path, write_report([*twins, older], ReportFormat.CSV, columns=CSV_NAMES))
    made, _ = planned(tmp_path, Headed(), inventory=inventory, policy=Policy(versions="all"))
    assert "version-order" in {risk.id for risk in made.risks}


def test_keys_of_prefixes_that_are_topped_up_come_from_a_listing(tmp_path: Path) -> None:
    now = [o for o in OBJECTS if o.key != "photos/0003.jpg"] + [listed("photos/new.jpg", size=99)]
    by_listing, _ = planned(tmp_path, Headed(now))
    stale = report(tmp_path, write_report(shuffled(OBJECTS), ReportFormat.CSV))
    topped_up = dataclasses.replace(stale, top_up=("photos/", "photos/00", "empty/"))

    by_report, entries = planned(tmp_path, Headed(now), inventory=topped_up)
    assert by_report.sections == by_listing.sections
    assert "photos/new.jpg" in {entry.key for entry in moved(by_report, entries)}
    assert "'photos/'" in next(risk.text for risk in by_report.risks if risk.id == "inventory")

    without, entries = planned(tmp_path, Headed(now), inventory=stale)
    assert {"photos/new.jpg", "photos/0003.jpg"} & {entry.key for entry in moved(without, entries)} == {
        "photos/0003.jpg"
    }


def test_the_newest_complete_report_under_a_folder_is_read(tmp_path: Path) -> None:
    written = write_report(OBJECTS, ReportFormat.CSV)
    written.under(tmp_path)
    unfinished = tmp_path / "from/all/2026-09-22T01-00Z/manifest.json"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_text("{}")
    made, _ = planned(tmp_path, Headed(), inventory=DeclaredInventory(report="from/all"))
    assert made.sections[0].source_inventory.objects == len(OBJECTS)
    with pytest.raises(InputMissing, match="no complete report"):
        planned(tmp_path, Headed(), inventory=DeclaredInventory(report="from/all/data"))


# --- what a HEAD finds


def test_what_a_source_list_names_and_the_bucket_does_not_hold_is_named_as_unsupported(tmp_path: Path) -> None:
    inventory = key_list(tmp_path, "keys", "photos/0001.jpg\nno-such\nphotos/0001.jpg\n\n")
    made, manifests = planned(tmp_path, Headed(OBJECTS), inventory=inventory)
    assert [entry.key for entry in moved(made, manifests)] == ["photos/0001.jpg"]
    (entry,) = side(made, manifests, "unsupported")
    assert (entry.key, "not in the bucket" in entry.reason) == ("no-such", True)
    assert "1 key of the source inventory" in next(r.text for r in made.risks if r.id == "inventory-absent")


def test_what_a_destination_list_names_and_the_bucket_does_not_hold_is_copied(tmp_path: Path) -> None:
    there = key_list(tmp_path, "keys", "photos/0001.jpg\nphotos/0002.jpg\n")
    made, manifests = planned(tmp_path, Headed(OBJECTS[:3]), OBJECTS[1:2], there=there)
    assert [entry.key for entry in moved(made, manifests)] == ["photos/0000.jpg", "photos/0002.jpg"]


def test_a_report_without_sizes_is_refused_unless_heads_are_declared(tmp_path: Path) -> None:
    written = write_report(OBJECTS, ReportFormat.PARQUET, columns=[c for c in CURRENT if c not in ("size", "e_tag")])
    inventory = report(tmp_path, written)
    with pytest.raises(InventoryCorrupt, match=r"no column size, etag; .*missing_values: head"):
        planned(tmp_path, Headed(OBJECTS), inventory=inventory)
    by_listing, _ = planned(tmp_path, Headed(OBJECTS))
    heads = dataclasses.replace(inventory, missing_values=MissingValues.HEAD)
    by_heads, _ = planned(tmp_path, Headed(OBJECTS), inventory=heads)
    assert by_heads.sections == by_listing.sections


def test_a_row_that_tells_no_etag_is_asked_or_unsupported_by_name(tmp_path: Path) -> None:
    text = "".join(f"{as_json(o)}\n" for o in OBJECTS[:3]).replace(f'\\"{OBJECTS[1].etag}\\"', "")
    asked, _ = planned(tmp_path, Headed(OBJECTS[:3]), inventory=key_list(tmp_path, "k.jsonl", text))
    assert "1 object of" in next(r.text for r in asked.risks if r.id == "inventory-heads")
    refused = key_list(tmp_path, "k.jsonl", text, missing_values=MissingValues.REFUSE)
    made, manifests = planned(tmp_path, Headed(OBJECTS[:3]), inventory=refused)
    assert [e.key for e in side(made, manifests, "unsupported")] == [OBJECTS[1].key]


# --- what is refused


def refusals(written: Written) -> dict[str, Written]:
    first = next(name for name in written.files if "/data/" in name)
    longer = {**written.files, first: written.files[first] + b"x"}
    flipped = {**written.files, first: written.files[first][:-1] + bytes([written.files[first][-1] ^ 1])}
    other = {**written.files, written.manifest: written.files[written.manifest] + b" "}
    checksum = written.manifest.removesuffix("json") + "checksum"
    return {
        "data file longer": written._replace(files=longer),
        "data file altered": written._replace(files=flipped),
        "manifest altered": written._replace(files=other),
        "manifest of another bucket": changed(written, lambda d: d.update(sourceBucket="else")),
        "manifest without files": changed(written, lambda d: d.pop("files")),
        "unknown format": changed(written, lambda d: d.update(fileFormat="Avro")),
        "no checksum": written._replace(files={k: v for k, v in written.files.items() if k != checksum}),
    }


@pytest.mark.parametrize("wrong", refusals(write_report(OBJECTS[:4], ReportFormat.CSV)))
@pytest.mark.parametrize("form", ReportFormat)
def test_a_damaged_report_is_refused(tmp_path: Path, form: ReportFormat, wrong: str) -> None:
    inventory = report(tmp_path, refusals(write_report(OBJECTS, form))[wrong])
    with pytest.raises(InventoryCorrupt) as refused:
        planned(tmp_path, Headed(), inventory=inventory)
    assert refused.value.exit_code == 5


def test_a_data_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    written = write_report(OBJECTS, ReportFormat.CSV)
    first = next(name for name in written.files if "/data/" in name)
    inventory = report(tmp_path, written._replace(files={k: v for k, v in written.files.items() if k != first}))
    with pytest.raises(InputMissing, match="part-0"):
        planned(tmp_path, Headed(), inventory=inventory)


def test_a_report_of_current_objects_cannot_give_histories(tmp_path: Path) -> None:
    inventory = report(tmp_path, write_report(OBJECTS, ReportFormat.ORC))
    with pytest.raises(InventoryCorrupt, match="version_id, is_latest, is_delete_marker"):
        planned(tmp_path, Headed(), inventory=inventory, policy=Policy(versions="all"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("k.csv", "Size,ETag\n1,a\n", "no column key"),
        ("k.csv", "key,size\na\n", "line 2 has 1 fields, not 2"),
        ("k.csv", "key,size,etag,last_modified\na,many,x,2026-01-01\n", "'many' is not a size"),
        ("k.csv", "key,size,etag,last_modified\na,1,x,yesterday\n", "'yesterday' is not a time"),
        ("k.csv", "bucket,key\nelse,a\n", "of bucket 'else'"),
        ("k.csv", "key,version_id,is_latest,is_delete_marker\na,1,perhaps,false\n", "neither true nor false"),
        ("k.jsonl", "{", "line 1 is not JSON"),
        ("k.jsonl", "[1]", "neither a JSON object nor a string"),
        ("k.jsonl", '{"size": 1}', "no column key"),
        ("k.jsonl", '"a"\n{"size": 1}', "line 2 has no key"),
        ("k.jsonl", '{"key": {"a": 1}}', "neither text nor a number"),
    ],
)
def test_a_malformed_key_list_is_refused_with_its_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(InventoryCorrupt, match=says):
        planned(tmp_path, Headed(OBJECTS), inventory=key_list(tmp_path, name, text))


@pytest.mark.parametrize(
    "data",
    [
        b"a\n\xff\xfe\n",
        gzip.compress(b"a\nb\n" * 9, mtime=0)[:-6],
        gzip.compress(b"a\nb\n", mtime=0)[:12] + b"garbage!",
    ],
    ids=["no text", "cut", "no gzip"],
)
def test_bytes_that_are_no_list_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "keys").write_bytes(data)
    with pytest.raises(InventoryCorrupt, match="cannot be read"):
        planned(tmp_path, Headed(OBJECTS), inventory=DeclaredInventory(keys="keys"))


def test_a_compressed_list_is_read(tmp_path: Path) -> None:
    (tmp_path / "keys.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfkey\nphotos/0001.jpg\n"))
    made, manifests = planned(tmp_path, Headed(OBJECTS), inventory=DeclaredInventory(keys="keys.csv.gz"))
    assert [entry.key for entry in moved(made, manifests)] == ["photos/0001.jpg"]


@pytest.mark.parametrize(("hours", "accepted"), [(34, True), (33, False)])
def test_a_stale_report_is_refused_where_an_age_is_declared(tmp_path: Path, hours: int, accepted: bool) -> None:
    inventory = dataclasses.replace(report(tmp_path, write_report(OBJECTS, ReportFormat.CSV)), max_age=hours * 3600)
    if accepted:
        planned(tmp_path, Headed(), inventory=inventory)
        return
    with pytest.raises(StalePlan, match=r"is 1 d 10 h old, and max_age is 1 d 9 h"):
        planned(tmp_path, Headed(), inventory=inventory)


def test_what_needs_pyarrow_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = report(tmp_path, write_report(OBJECTS, ReportFormat.PARQUET))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 's3migrate\[inventory\]'"):
        planned(tmp_path, Headed(), inventory=inventory)
