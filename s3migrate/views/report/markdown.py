"""The report of a run as Markdown, for a ticket or a pull request: the same facts, without the charts."""

from __future__ import annotations

from collections.abc import Iterator

from s3migrate.views.markdown import cell, code, plain_or_code
from s3migrate.views.report.facts import Equation, RunReport
from s3migrate.views.report.html import (
    MOST_REASONS,
    amount_text,
    limits_text,
    moment_text,
    next_step,
    next_steps,
    ratio_text,
    shares_of,
    tiles_of,
)
from schema.formats.quantities import count_text, size_text


def report_markdown(report: RunReport) -> str:
    """The text."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: RunReport) -> Iterator[str]:
    verdict = report.verdict
    yield f"# {code(report.name)}, run {report.run_id}"
    yield ""
    code_text = "not ended" if verdict.exit_code is None else f"exit code {verdict.exit_code:d}: {verdict.meaning}"
    yield f"**{verdict.sentence}** ({code_text})"
    yield ""
    yield " · ".join(f"**{tile.value}** {tile.label}" for tile in tiles_of(report))
    steps = next_steps(report)
    if steps:
        yield from ("", "## What to do next", "")
        yield from (f"- {step.text} {code(step.command)}" for step in steps)
    for equation in (report.source_keys, report.deletes):
        if equation is not None:
            yield from _equation(equation)
    yield from ("", "## Plan and actual", "", "| | planned | actual | of planned | note |", "|---|--:|--:|--:|---|")
    for row in report.comparisons:
        planned, actual = (amount_text(value, row.unit) for value in (row.planned, row.actual))
        yield f"| {row.name} | {planned} | {actual} | {ratio_text(row)} | {row.note} |"
    yield from ("", "## Failures", "")
    if report.failures:
        yield from ("| reason | objects | one of the messages | next |", "|---|--:|---|---|")
        for reason in report.failures[:MOST_REASONS]:
            said = f"{cell(reason.error_code)} | {count_text(reason.objects)} | {cell(reason.message)}"
            yield f"| {said} | {next_step(reason)} |"
    else:
        yield "No object has failed for good."
    yield from _rest(report)


def _equation(equation: Equation) -> Iterator[str]:
    yield from ("", f"## {equation.of.capitalize()}: {count_text(equation.objects)}", "")
    yield from ("| outcome | keys |", "|---|--:|")
    yield from (f"| {term.text} | {count_text(term.objects)} |" for term in equation.terms if term.objects)


def _rest(report: RunReport) -> Iterator[str]:
    yield from ("", "## Stages", "", "| stage | state | objects | bytes | left | failed |", "|---|---|--:|--:|--:|--:|")
    for stage in report.stages:
        done = f"{count_text(stage.objects)} | {size_text(stage.bytes)} | {count_text(stage.left)}"
        yield f"| {cell(stage.stage_id)} | {stage.state.name.lower()} | {done} | {count_text(stage.failed)} |"
    if report.thread_shares:
        yield from ("", "## Where the worker threads' time went", "")
        yield "; ".join(f"{share.percent} {share.label}" for share in shares_of(report)) + ". " + report.why
    proofs = report.proofs
    yield from ("", "## What proves it", "")
    yield (
        f"{count_text(proofs.arrived)} objects arrived, {count_text(proofs.checksummed)} with the CRC64NVME of what "
        f"was read; {count_text(proofs.verified)} proven again before later stages began. `s3migrate verify` and "
        "`s3migrate certify` look again; their findings are not in the ledger."
    )
    if report.losses:
        yield from ("", "## Losses that were accepted", "")
        yield from (
            f"- {code(item.section)}: {code(item.loss.id)}: {plain_or_code(item.loss.text)}" for item in report.losses
        )
    yield from ("", "## Who, with what", "")
    for name, figure in limits_text(report):
        yield f"Limit set while running: {code(name)} {figure}."
    for end in report.ends:
        yield f"- {end.side} {code(f'{end.bucket}/{end.prefix}')} at {code(end.endpoint)}"
    yield f"- plan {code(report.plan_id)}, accepted {moment_text(report.accepted_at)} by {code(report.accepted_by)}"
    versions = sorted({process.tool_version for process in report.processes})
    yield f"- {count_text(report.process_count)} processes, versions {', '.join(map(code, versions)) or 'unknown'}"
    yield ""
    yield f"Made {moment_text(report.made_at)} UTC by s3migrate {report.made_by}, from the ledger."
