"""The report of a run as one self-contained HTML page, and the texts that it shares with the Markdown format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from markupsafe import Markup

from executor.flow.limits import limits_at
from executor.ledger.values import FailureReason, ProcessRecord, RunState
from s3migrate.views.charts import line_chart, share_bar
from s3migrate.views.page import render_page
from s3migrate.views.report.facts import Foretold, RunReport, Unit
from s3migrate.views.run_charts import charts_of
from s3migrate.views.why import ACTIVITY_WORDS
from schema.exit_codes import ExitCode
from schema.flow.samples import FlowPoint
from schema.formats.quantities import count_text, duration_text, rate_text, size_text
from schema.limits import LIMITS

MOST_REASONS = 50


class Step(NamedTuple):
    """Something the reader should do."""

    text: str
    command: str


class Figure(NamedTuple):
    """A figure on the first screen."""

    value: str
    label: str
    tone: str = "none"
    """good, warn, bad or none: the colour of its frame."""


class TimeShare(NamedTuple):
    """A part of the threads' time."""

    label: str
    value: float
    percent: str


def report_html(report: RunReport) -> str:
    """The page."""
    return render_page(
        "run.html",
        report=report,
        verdict_word=verdict_word(report),
        verdict_class=_class(report),
        tiles=tiles_of(report),
        next_steps=next_steps(report),
        equations=[equation for equation in (report.source_keys, report.deletes) if equation is not None],
        charts=charts_of(report.history, partial(_limit_at, report)),
        shares=shares_of(report),
        limits_set=limits_text(report),
        most=MOST_REASONS,
        **_FUNCTIONS,
    )


def _limit_at(report: RunReport, name: str, point: FlowPoint) -> float | None:
    """By plan and calendar; a limit that was set during the run counts for all of it."""
    return limits_at(report.plan.limits, point.begins, report.limits_set).figures.get(name)


def verdict_word(report: RunReport) -> str:
    """For the page's title."""
    if report.verdict.exit_code is None:
        return "not ended"
    return "done" if report.verdict.exit_code == ExitCode.DONE else report.state.name.lower()


def tiles_of(report: RunReport) -> list[Figure]:
    """The figures on the first screen."""
    moved = sum(sum(stage.by_outcome.values()) for stage in report.stages)
    size = sum(stage.bytes_done for stage in report.stages)
    failed = sum(stage.failed for stage in report.stages)
    rate = size / report.elapsed_seconds if report.elapsed_seconds > 0 else 0.0
    return [
        Figure(count_text(moved), f"of {count_text(report.plan.transfer.objects)} objects finished"),
        Figure(size_text(size), f"of {size_text(report.plan.transfer.bytes)}"),
        Figure(duration_text(report.elapsed_seconds), f"elapsed, {rate_text(rate)} on average"),
        Figure(count_text(failed), "failed", "bad" if failed else "none"),
        Figure(count_text(report.drifted), "changed since the plan, left alone", "warn" if report.drifted else "none"),
        Figure(
            count_text(report.process_count),
            "process took part" if report.process_count == 1 else "processes took part",
        ),
    ]


def next_steps(report: RunReport) -> list[Step]:
    """What the reader should do, most urgent first."""
    steps = []
    if report.verdict.exit_code is None:
        steps.append(Step("The run has not ended. To resume it, or to help, apply its plan:", "s3migrate apply PLAN"))
    if report.failures:
        steps.append(Step("When the causes below are fixed, try the failed objects again:",
                          f"s3migrate retry {report.run_id} && s3migrate apply PLAN"))  # fmt: skip
    if report.drifted:
        steps.append(
            Step("What changed since the plan was left alone; a new plan moves it:", "s3migrate plan DECLARATION")
        )
    if report.verdict.exit_code == ExitCode.DONE:
        steps.append(Step("Look at both ends again, and keep the proof:",
                          f"s3migrate verify PLAN && s3migrate certify {report.run_id} --level head"))  # fmt: skip
    return steps


def next_step(reason: FailureReason) -> str:
    """What to do about failures for this reason."""
    return _NEXT.get(reason.error_code, "s3migrate retry, then apply")


_NEXT = {
    "AccessRefused": "grant the right that the message names, then retry and apply",
    "ObjectRefused": "accept the loss by name in the declaration, and plan again",
    "ObjectArchived": "declare on_archived: restore, and plan again",
    "VerifyMismatch": "look at it with s3migrate explain, then plan again",
    "StorageFull": "make room at the destination, then retry and apply",
    "FeatureUnsupported": "the endpoint cannot do it: see the message, then plan again",
}


def shares_of(report: RunReport) -> list[TimeShare]:
    """The threads' time, largest share first."""
    shares = sorted(report.thread_shares.items(), key=lambda item: -item[1])
    return [TimeShare(ACTIVITY_WORDS[name], share, f"{100 * share:.1f} %") for name, share in shares]


def limits_text(report: RunReport) -> list[tuple[str, str]]:
    """The limits that were set during the run: (name, value)."""
    told = ((name, figure, LIMITS.get(name)) for name, figure in sorted(report.limits_set.items()))
    return [(name, limit.text(figure) if limit and figure > 0 else f"{figure:g}") for name, figure, limit in told]


def moment_text(at: datetime | None) -> str:
    """'2026-11-30 02:15:07'; a dash for None."""
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def amount_text(value: float | str | None, unit: Unit) -> str:
    """A number for people; a dash for None."""
    if value is None:
        return "–"
    if unit is Unit.USD:
        return f"${value}"
    number = float(value)
    if unit is Unit.SECONDS:
        return duration_text(number)
    return size_text(int(number)) if unit is Unit.BYTES else count_text(int(number))


def ratio_text(row: Foretold) -> str:
    """The actual value in percent of the planned one."""
    if row.planned is None or row.actual is None or not float(row.planned):
        return "–"
    return f"{100 * float(row.actual) / float(row.planned):,.0f} %"


def process_ending(process: ProcessRecord) -> str:
    """The exit code of a process, or why it has none."""
    if process.exit_code is not None:
        return str(process.exit_code)
    return "at work" if process.stopped_at is None else "died"


def _class(report: RunReport) -> str:
    if report.verdict.exit_code is None:
        return "warn"
    if report.verdict.exit_code == ExitCode.DONE and report.source_keys.holds:
        return "good"
    return "warn" if report.state is RunState.SUPERSEDED else "bad"


def _drawn(chart: Any) -> Markup:
    return Markup(line_chart(chart))  # noqa: S704 - drawn and escaped by line_chart


def _bar(part: float, whole: float) -> Markup:
    share = part / whole if whole else 0.0
    return Markup(share_bar(share, f"{100 * share:.1f} %"))  # noqa: S704 - as above


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "amount": amount_text,
    "ratio": ratio_text,
    "drawn": _drawn,
    "next_step": next_step,
    "ending": process_ending,
    "moment": moment_text,
    "bar": _bar,
}
