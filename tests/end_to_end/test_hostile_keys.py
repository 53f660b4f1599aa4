"""Keys that would steer a terminal, a table, a page, a spreadsheet or a CI log are text wherever they are shown."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata

import pytest
import yaml
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Rule, error
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill

from schema.formats.escape import one_line

HOSTILE = [
    "\x1b]0;owned\x07\x1b[2Jx",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "@SUM(1)",
    "-2+3",
    "a | b `c` [d](http:evil.example) **e**",
    "x\n::error::stop-commands",
    "x\r\nFAKE: line",
    "\u202egpj.exe",
    "zero\u200bwidth",
    "back\\slash",
]
COMMANDS = [
    ("show", "PLAN"),
    ("show", "PLAN", "--format", "md"),
    ("show", "PLAN", "--format", "json"),
    ("show", "PLAN", "--format", "html"),
    ("show", "PLAN", "--action", "copy"),
    ("diff", "PLAN", "PLAN", "--format", "md"),
    ("status",),
    ("status", "--json"),
]


@pytest.fixture
def hostile(on_rclone: Operator) -> Operator:
    """One object under each hostile key."""
    objects = [CorpusObject(key, 10 + n, n) for n, key in enumerate(HOSTILE)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, objects)
    return on_rclone


def harmless(text: str, where: str) -> None:
    """Printable characters and line ends; no line that a CI runner takes for a command."""
    wrong = {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")}
    assert wrong == set(), (where, wrong)
    assert not re.search(r"^\s*::", text, re.MULTILINE), where
    assert not re.search(r"^FAKE", text, re.MULTILINE), where


def test_hostile_keys_are_text_in_every_output(hostile: Operator) -> None:
    with FaultProxy(hostile.destination.endpoint_url) as proxy:
        hostile.destination_url = proxy.endpoint_url
        shown = [("plan", hostile.plan())]
        assert shown[0][1].code == 0, shown[0][1].err
        proxy.rules = [Rule(error(403, "AccessDenied", "no \x1b[31m <b>"), operations=("put",))]
        shown.append(("apply", hostile.apply()))
        assert shown[-1][1].code == 3, shown[-1][1].err
        for words in COMMANDS:
            ran = hostile.run(*(hostile.plan_path if word == "PLAN" else word for word in words))
            assert ran.code == 0, (words, ran.err)
            shown.append((" ".join(words), ran))
        batches = [batch["id"] for batch in yaml.safe_load(hostile.plan_path.read_text())["batches"]]
        assert batches
        shown += [(batch, hostile.run("show", hostile.plan_path, "--batch", batch)) for batch in batches]
        explained = [(f"explain {key!r}", hostile.run("explain", "--", one_line(key))) for key in HOSTILE]
        assert {ran.code for _, ran in explained} == {0}
        shown += explained
        for ending in ("jsonl", "csv", "md", "html"):
            shown.append((f"verify {ending}", hostile.verify("--report", f"found.{ending}")))
            assert shown[-1][1].code == 8
        proxy.rules = []
        assert hostile.run("retry").code == 0
        assert hostile.apply().code == 0
    assert compare(hostile.source_side, hostile.destination_side, fields=RCLONE_FIELDS) == []
    telling = [where for where, ran in shown if "owned" in ran.out + ran.err]
    assert {"apply", "status", "verify html"} <= set(telling), telling
    for where, ran in shown:
        harmless(ran.out, where)
        harmless(ran.err, where)
    files = {path: path.read_text() for path in hostile.folder.glob("found.*")}
    files[hostile.plan_path] = hostile.plan_path.read_text()
    for path, text in files.items():
        harmless(text.replace("\r\n", "\n") if path.suffix == ".csv" else text, path.name)
    assert not re.search(r"<(script|img|b>)", files[hostile.folder / "found.html"])
    cells = [cell for row in csv.reader(io.StringIO(files[hostile.folder / "found.csv"])) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []
    findings = [json.loads(line) for line in files[hostile.folder / "found.jsonl"].splitlines()][:-1]
    assert {finding["key"] for finding in findings} == set(HOSTILE), "read back, they are the keys"
