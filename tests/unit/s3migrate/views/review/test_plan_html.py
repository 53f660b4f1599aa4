"""The page of a plan: one file that asks for nothing, runs nothing, and shows keys as text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.hostile_plan import HOSTILE, hostile_plan, hostile_sample
from support.planning import MemoryManifests, declare, listed, plan
from support.sample_plan import large_plan, sample_plan

from s3migrate.cli import cli
from s3migrate.console.failure import run_click
from s3migrate.views.review.plan_html import MOST_BATCHES, plan_html
from s3migrate.views.review.verdict import Sample, draw_sample
from schema.files.planfile import write_plan
from schema.formats.escape import one_line

TAGS = frozenset(
    re.findall(
        r"\w+",
        "html head meta title style body main h1 h2 p ul li b span code pre dl dt dd div table thead tbody tr th td "
        "progress details summary",
    )
)
ATTRIBUTES = frozenset(
    re.findall(
        r"[\w-]+",
        "lang charset name content http-equiv class role aria-label tabindex scope max value open",
    )
)
"""None that loads, links or runs."""
VOID = {"meta"}


class Page(HTMLParser):
    """Tags, attributes and text; every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.policy = self.style = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.attributes |= given.keys()
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text += data


def check(text: str) -> Page:
    page = Page(text)
    assert page.tags <= TAGS, page.tags - TAGS
    assert page.attributes <= ATTRIBUTES, page.attributes - ATTRIBUTES
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert page.policy == (f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"), (
        "the policy allows this style and nothing else"
    )
    assert not re.search(r"url\(|@import", page.style)
    assert {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")} == set()
    return page


def test_hostile_names_stay_text() -> None:
    page = check(
        plan_html(hostile_plan(), Path("<b>'\n.yaml"), hostile_sample(), changes=[one_line(k) for k in HOSTILE])
    )
    for key in HOSTILE[:12]:
        assert one_line(key) in page.text


def test_it_says_what_the_comment_says(tmp_path: Path) -> None:
    manifests = MemoryManifests()
    source, there = [listed(f"photos/{n}", 1000, modified=5_000) for n in range(30)], [listed("photos/3", 5)]
    made = plan(declare(), source, there, manifests=manifests, staging=tmp_path)
    page = check(plan_html(made, Path("plans/p.yaml"), draw_sample(made, manifests)))
    for said in (
        "1 destination object replaced; whether old versions are kept there is not known",
        "s3migrate show plans/p.yaml --action overwrite",
        f"s3migrate apply plans/p.yaml --expect-plan-id {made.plan_id.removeprefix('sha256:')}",
        "20 objects drawn by the plan's hash",
        "bound by latency",
    ):
        assert said in page.text


def test_it_is_small_whatever_the_plan() -> None:
    made = large_plan()
    batch = made.batches[0]
    keys = ("k" * 1024, "l" * 1024)
    many = tuple(dataclasses.replace(batch, id=f"{batch.id}-{n}", keys=keys) for n in range(MOST_BATCHES + 5))
    text = plan_html(dataclasses.replace(made, batches=many), Path("p"), Sample(()))
    assert "and 5 more: " in check(text).text
    assert len(text.encode()) < 1_000_000


def test_show_writes_it_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plan(tmp_path / "p.yaml", sample_plan())
    words = ["show", str(tmp_path / "p.yaml"), "--format"]
    assert run_click(cli, [*words, "html", "-o", str(tmp_path / "out.html")]) == 0
    check((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert run_click(cli, [*words, "gitlab"]) == 0
    assert capsys.readouterr().out == '{"create": 10, "update": 2, "delete": 0}\n'
    assert run_click(cli, [*words, "html", "-o", str(tmp_path / "no" / "\0")]) != 0
    assert run_click(cli, [*words, "md", "-o", "/proc/nowhere/x.md"]) == 74
