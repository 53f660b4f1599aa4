"""A report says what the ledger holds, number for number, and no name from outside acts in any of its forms."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from support.ledger_plan import SIZE
from support.reported_run import HOSTILE, reported_plan, reported_run

from executor.ledger.ledger import Ledger
from executor.ledger.values import Outcome, RunState
from s3migrate.views.report.facts import RunReport, Unit, report_of
from s3migrate.views.report.html import report_html
from s3migrate.views.report.json import report_json
from s3migrate.views.report.markdown import report_markdown
from schema.exit_codes import ExitCode
from schema.flow.request_classes import RequestClass

Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def ended(ledger: Ledger) -> RunReport:
    run, _ = reported_run(ledger, reported_plan())
    ledger.runs.finish(run.run_id)
    return report_of(ledger, run.run_id)


def test_every_number_is_what_sql_says(ended: RunReport, sql: Sql) -> None:
    def one(query: str) -> Any:
        return sql(query)[0][0]

    of_outcome = dict(sql("SELECT outcome, count(*) FROM ledger.completion WHERE batch_no < 2 GROUP BY 1"))
    terms = {term.name: term.objects for term in ended.source_keys.terms}
    assert terms == {
        **{o.name.lower(): of_outcome.get(int(o), 0) for o in Outcome if o is not Outcome.DELETED},
        "skipped": 4,
        "excluded": 3,
        "unsupported": 2,
        "conflict_planned": 0,
        "failed": one("SELECT count(DISTINCT (batch_no, ord)) FROM ledger.failure WHERE batch_no < 2"),
        "left": one("SELECT sum(objects) FROM ledger.batch WHERE batch_no < 2")
        - sum(of_outcome.values())
        - one("SELECT count(DISTINCT (batch_no, ord)) FROM ledger.failure WHERE batch_no < 2"),
    }
    assert ended.source_keys.holds and ended.source_keys.objects == 49
    assert ended.deletes is not None and ended.deletes.holds
    actual = {row.name: row.actual for row in ended.comparisons}
    assert actual["objects moved"] == one("SELECT count(*) FROM ledger.completion")
    assert actual["bytes moved"] == one("SELECT sum(size) FROM ledger.completion")
    for kind in (RequestClass.GET, RequestClass.PUT):
        both = "SELECT sum(source_requests[%s] + destination_requests[%s]) FROM ledger.flow_sample"
        assert actual[f"{kind.name}-class requests"] == sql(both, int(kind), int(kind))[0][0]
    assert actual["memory of a process"] == one("SELECT max(buffer_bytes) FROM ledger.flow_sample")
    assert ended.proofs.arrived == one("SELECT count(*) FROM ledger.completion WHERE outcome IN (1, 2)")
    assert ended.attempts_failed == one("SELECT count(*) FROM ledger.failure")
    assert [(f.error_code, f.objects) for f in ended.failures] == [("AccessRefused", 2)]
    assert sum(point.counts.objects for point in ended.history) == one("SELECT sum(objects) FROM ledger.flow_sample")


def test_the_verdict_is_that_of_apply(ledger: Ledger, ended: RunReport) -> None:
    assert (ended.state, ended.verdict.exit_code) == (RunState.FAILED, ExitCode.FAILURES)
    assert "2 failed, 3 drifted" in ended.verdict.sentence

    plan = dataclasses.replace(reported_plan(), plan_id="sha256:other", lineage="another")
    good, _ = reported_run(
        ledger,
        plan,
        outcome=lambda chunk, _ord: Outcome.DELETED if chunk.batch_no == 2 else Outcome.COPIED,
    )
    assert report_of(ledger, good.run_id).verdict.exit_code == ExitCode.DONE


def test_a_run_that_goes_on_has_a_report(ledger: Ledger) -> None:
    run, _ = reported_run(ledger, reported_plan(), until=1, sampled=0)
    report = report_of(ledger, run.run_id)

    assert report.verdict.exit_code is None and not report.ended
    assert {term.name: term.objects for term in report.source_keys.terms}["left"] == 35
    assert report.source_keys.holds
    html = report_html(report)
    assert "not ended" in html and "nothing was recorded" in html
    assert {row.actual for row in report.comparisons if row.unit is Unit.REQUESTS} == {None}


def test_a_run_on_another_machine_than_the_estimates_is_named(ledger: Ledger, ended: RunReport) -> None:
    def note_of(host: str) -> str:
        estimate = {"assumptions": {"machine": {"host": host}}}
        plan = dataclasses.replace(reported_plan(), plan_id=f"sha256:{host}", lineage=host, estimate=estimate)
        run, _ = reported_run(ledger, plan)
        ledger.runs.finish(run.run_id)
        return next(row.note for row in report_of(ledger, run.run_id).comparisons if row.name == "time")

    (here,) = {process.host for process in ended.processes}
    assert note_of("planner-1") == f"estimated for planner-1, carried out on {here}"
    assert note_of(here) == ""


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_one_file_that_loads_and_runs_nothing(ended: RunReport) -> None:
    html = report_html(ended)
    page = Page(html)

    assert "default-src 'none'" in html
    assert not {"script", "img", "link", "iframe", "object", "form"}.intersection(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "href", "style"}
    assert "url(" not in html and "@import" not in html
    assert page.tags.count("h1") == 1 and page.tags.count("svg") > 4
    shown = "".join(page.text)
    assert "<script>alert(1)</script>" in shown
    assert "\x1b" not in html and "\u202e" not in html


def test_the_markdown_holds_names_in_code_alone(ended: RunReport) -> None:
    text = report_markdown(ended)
    assert "\x1b" not in text and "\u202e" not in text
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "script" not in outside and "onload" not in outside
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(re.sub(r"\\\|", "", line).count("|") in (3, 5, 6, 7) for line in tables)


def test_the_json_is_plain_and_says_its_version(ended: RunReport) -> None:
    said = json.loads(json.dumps(report_json(ended)))
    assert said["format_version"] == 1
    assert said["source_keys"]["holds"] is True
    assert sum(said["source_keys"]["terms"].values()) == said["source_keys"]["objects"] == 49
    assert said["accepted_by"] == HOSTILE
    assert said["verdict"]["exit_code"] == 3
    assert sum(stage["bytes_done"] for stage in said["stages"]) == SIZE * (40 - 2)


def test_the_page_of_many_objects_is_no_longer(ledger: Ledger) -> None:
    run, _ = reported_run(ledger, reported_plan(4000), step=500, sampled=300)
    assert len(report_html(report_of(ledger, run.run_id)).encode()) < 200_000
