"""report: one run, every form, hostile keys; and every object in every shape."""

from __future__ import annotations

import csv
import hashlib
import json
from urllib.parse import unquote

import pytest
from support.corpus import CorpusObject
from support.operator import Operator
from support.oracle import fill

KEYS = ["=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>", "a | b `c`", 'comma, "quote"', "\u202egpj", "plain"]


@pytest.fixture
def applied(on_moto: Operator) -> Operator:
    """Six objects copied, one there already, one excluded, a stranger at the destination."""
    made = [CorpusObject(key, 10 + n, n) for n, key in enumerate(KEYS)]
    same, out = CorpusObject("same", 5, 7), CorpusObject("old/x", 1, 8)
    fill(on_moto.source.client(), on_moto.source_bucket, [*made, same, out])
    fill(on_moto.destination.client(), on_moto.destination_bucket, [same, CorpusObject("stranger", 3, 9)])
    on_moto.more = {"filters": {"exclude": ["old/**"]}}
    on_moto.plan().ok()
    on_moto.apply().ok()
    return on_moto


def test_a_report_in_every_form(applied: Operator) -> None:
    for name in ("r.html", "r.md", "r.json"):
        applied.run("report", "-o", name).ok()
    said = json.loads((applied.folder / "r.json").read_text())
    terms = {name: number for name, number in said["source_keys"]["terms"].items() if number}

    assert terms == {"copied": 6, "skipped": 1, "excluded": 1}
    assert said["source_keys"]["holds"] and said["verdict"]["exit_code"] == 0
    assert "Every object that the plan moves has arrived." in (applied.folder / "r.html").read_text()
    assert applied.run("report").ok().out.splitlines()[2] == (applied.folder / "r.md").read_text().splitlines()[2]
    assert applied.run("report", "-o", "r.pdf").code == 64
    assert applied.run("report", "-o", "/proc/none/r.html").code == 74

    applied.run("report", "--objects", "o.jsonl").ok()
    rows = [json.loads(line) for line in (applied.folder / "o.jsonl").read_text().splitlines()]
    assert [row["destination_key"] for row in rows] == sorted([*KEYS, "same", "stranger", "old/x"])
    assert {row["key"]: row["outcome"] for row in rows if row["outcome"] != "copied"} == {
        "same": "skip", "stranger": "extraneous", "old/x": "excluded",
    }  # fmt: skip

    applied.run("report", "--objects", "o.csv").ok()
    with (applied.folder / "o.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows)
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in table for cell in row.values())

    applied.run("report", "--objects", "bo", "--shape", "batch-operations").ok()
    manifest = json.loads((applied.folder / "bo" / "manifest.json").read_text())
    for result in manifest["Results"]:
        data = (applied.folder / "bo" / result["Key"]).read_bytes()
        assert result["MD5Checksum"] == hashlib.md5(data).hexdigest()
    with (applied.folder / "bo" / "results" / "succeeded.csv").open(newline="") as file:
        done = list(csv.reader(file))
    assert sorted(unquote(row[1]) for row in done) == sorted(KEYS)
    assert {(row[0], row[3], row[5]) for row in done} == {(applied.source_bucket, "succeeded", "200")}
    assert (applied.folder / "bo" / "results" / "failed.csv").read_text() == ""

    applied.run("report", "--objects", "ds", "--shape", "datasync").ok()
    moved = json.loads((applied.folder / "ds" / "files-transferred.json").read_text())
    skipped = json.loads((applied.folder / "ds" / "files-skipped.json").read_text())
    assert sorted(item["RelativePath"] for item in moved["Transferred"]) == sorted(f"/{key}" for key in KEYS)
    assert [item["RelativePath"] for item in skipped["Skipped"]] == ["/old/x", "/same"]
