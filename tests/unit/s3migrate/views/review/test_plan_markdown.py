"""The comment on a pull request: what its first screen says, that it stays short, and that keys are text in it."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from support.hostile_plan import HOSTILE, hostile_plan, hostile_sample
from support.planning import DESTINATION, MemoryManifests, declare, listed, plan
from support.sample_plan import digest, sample_plan

from s3migrate.views.review.plan_markdown import LIMIT, plan_markdown
from s3migrate.views.review.verdict import Sample, Sampled, draw_sample
from schema.declaration import Guards, Policy
from schema.plan import Action, Entry, Overview, Place, Plan, Share, SizedKey

ALLOWED = {"h3", "p", "strong", "code", "pre", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
OURS = {"details", "summary"}


def made_plan(tmp_path: Path) -> tuple[Plan, MemoryManifests]:
    """Three copies, one overwrite, one delete, under a prefix."""
    manifests = MemoryManifests()
    source = [listed(f"photos/{name}", 1000, modified=1_600_000_000_000) for name in ("a", "b", "c", "d")]
    there = [listed("photos/b", 5), listed("photos/old")]
    declaration = declare(policy=Policy(delete_extraneous="after-verify"), guards=Guards(max_deletes=1))
    made = plan(
        declaration, source, there, manifests=manifests, staging=tmp_path,
        provenance={"generated_at": "2026-11-30T02:00:00+00:00"},
    )  # fmt: skip
    return made, manifests


def test_the_first_screen_decides(tmp_path: Path) -> None:
    made, manifests = made_plan(tmp_path)
    first = plan_markdown(made, Path("plans/p.yaml"), draw_sample(made, manifests)).splitlines()[:40]
    assert first[:5] == [
        f"<!-- s3migrate:{made.lineage} -->",
        "### s3migrate `test`: deletes 1 of ≤ 1 allowed · overwrites 1 · creates 3 · losses 0 · not migrated 0",
        "",
        (
            "4 objects, 3.9 KiB to write, from `http://source.example:9000/from/` to "
            "`http://destination.example:9000/to/`."
        ),
        "",
    ]
    text = "\n".join(first)
    for said in (
        "- 1 destination object deleted after everything else is verified, e.g. `photos/old`; all: ",
        "`s3migrate show plans/p.yaml --action delete`",
        "- 1 destination object replaced; whether old versions are kept there is not known, e.g. `photos/b`; all: ",
        "`s3migrate show plans/p.yaml --action overwrite`",
        "- **Time** 1.0 s expected (0.0 s to 2.0 s) with 1 process, bound by latency. Not included: retries, HEAD",
        "- **Money** not known",
        "- **Memory** 150.0 MiB per process",
        "- **Other writers** may lose",
        "- **If it is killed** nothing is lost",
        f"s3migrate apply plans/p.yaml --expect-plan-id {made.plan_id.removeprefix('sha256:')}",
        "| `photos/` | 1 | 1 | 3 | 3.9 KiB |",
    ):
        assert said in text, text


def test_a_plan_without_work_is_one_line_and_its_marker(tmp_path: Path) -> None:
    same = [listed(f"k{n}") for n in range(3)]
    made = plan(declare(), same, same, manifests=MemoryManifests(), staging=tmp_path)
    assert plan_markdown(made, Path("p"), Sample(())).splitlines() == [
        f"<!-- s3migrate:{made.lineage} -->",
        "**s3migrate** `test`: nothing to do, 3 objects already there.",
    ]


def test_conflicts_are_no_plan_without_work(tmp_path: Path) -> None:
    source, there = [listed("k", 1, modified=1)], [listed("k", 2, modified=2)]
    made = plan(declare(), source, there, manifests=MemoryManifests(), staging=tmp_path)
    text = plan_markdown(made, Path("p"), Sample(()))
    assert "- 1 key left alone until somebody decides, e.g. `k`; all: `s3migrate show p --action conflict`" in text


class Rendered(HTMLParser):
    """The tags of a page, its text outside of code, and how many cells each row has."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.outside = ""
        self.cells: list[list[int]] = []
        self.comments = self.open = self._code = 0
        self.feed(MarkdownIt("commonmark").enable("table").render(markdown))

    def handle_comment(self, data: str) -> None:
        self.comments += "s3migrate:" in data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert attrs == [] or tag in ("td", "th"), "alignment only"
        self.tags.add(tag)
        self.open += tag == "details"
        self._code += tag in ("code", "pre")
        if tag == "table":
            self.cells.append([])
        if tag == "tr":
            self.cells[-1].append(0)
        if tag in ("td", "th"):
            self.cells[-1][-1] += 1

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("code", "pre")
        self.open -= tag == "details"

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.outside += data


def check_harmless(text: str) -> None:
    page = Rendered(text)
    assert page.tags <= ALLOWED | OURS, page.tags - ALLOWED
    assert not re.search(r"@|#\d|GH-\d|www\.|https?:|\u202e|alert|\$|:smile:", page.outside), page.outside
    for rows in page.cells:
        assert len(set(rows)) == 1, rows
    assert page.comments == 1, "no other comment's marker"
    assert page.open == 0, "what folds, ends"


def test_hostile_names_stay_text() -> None:
    text = plan_markdown(hostile_plan(), Path("plans/<b>@team #12|`x`\n.yaml"), hostile_sample())
    check_harmless(text)
    assert len(text.encode()) <= LIMIT
    assert all(f"**{title}" in text for title in ("Look at these first", "Time", "Approve and apply")), "decisive"


@pytest.mark.parametrize("key", HOSTILE)
def test_each_hostile_key_stays_text_where_there_is_room(key: str) -> None:
    base = sample_plan(name=key[:60])
    overview = Overview(
        (Place("photos", key, False, 1, 1, 1, 1),), None, (Share(key, 1, 1),), (), (Share(key, 1, 1),),
        (SizedKey(key, 1),), {"overwrite": (key,)},
    )  # fmt: skip
    made = dataclasses.replace(base, overview=overview)
    sample = Sample((Sampled("photos", "b", Entry(key, 1, "e", Action.COPY)),))
    text = plan_markdown(made, Path("p"), sample)
    assert "Left out" not in text
    check_harmless(text)


def test_a_control_a_key_outside_of_code_is_seen() -> None:
    for key in ("@team", "#12", "<script>alert(1)</script>", "http://evil.example"):
        with pytest.raises(AssertionError):
            check_harmless(f"<!-- s3migrate:x -->\n- copy {key}")


def test_whole_sections_are_left_out_and_named() -> None:
    text = plan_markdown(hostile_plan(), Path("p"), hostile_sample())
    assert text.splitlines()[-1].startswith("Left out to keep this short: ")
    for line in text.splitlines():
        assert line.count("`") % 2 == 0 or "``" in line, line


def test_the_sample_is_the_plans_own(tmp_path: Path) -> None:
    manifests = MemoryManifests()
    made = plan(declare(), [listed(f"{n:03}") for n in range(300)], manifests=manifests, staging=tmp_path)
    drawn = draw_sample(made, manifests)
    assert drawn == draw_sample(made, manifests)
    keys = [each.entry.key for each in drawn.drawn]
    assert len(set(keys)) == 20
    other = draw_sample(dataclasses.replace(made, plan_id=digest("1")), manifests)
    assert [each.entry.key for each in other.drawn] != keys
    few = plan(declare(), [listed("a"), listed("b")], manifests=manifests, staging=tmp_path)
    assert [each.entry.key for each in draw_sample(few, manifests).drawn] == ["a", "b"]


def test_manifests_that_are_not_here_are_said(tmp_path: Path) -> None:
    made, _ = made_plan(tmp_path)
    sample = draw_sample(made, MemoryManifests())
    assert sample.drawn == ()
    assert "- incomplete: `sha256:" in plan_markdown(made, Path("p"), sample)


def test_a_destination_that_guards_writes_is_safe_from_others(tmp_path: Path) -> None:
    made, _ = made_plan(tmp_path)
    can = dataclasses.replace(
        made.sections[0].destination_capabilities, facts={"if_none_match": "enforced", "if_match": "enforced"}
    )
    guarded = dataclasses.replace(made, sections=(dataclasses.replace(made.sections[0], destination_capabilities=can),))
    assert "**Other writers** are safe" in plan_markdown(guarded, Path("p"), Sample(()))
    assert DESTINATION.endpoint_url in plan_markdown(guarded, Path("p"), Sample(()))
