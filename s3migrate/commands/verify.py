"""verify: prove that the destination holds what the plan says, and account for every other key."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click

from executor.machine.memory import calm_collector, default_budget, set_malloc_arenas
from executor.machine.processor import schedule_as_batch
from executor.route import routes_of
from executor.verify.listing import NOTES, Mismatch, MismatchKind
from executor.verify.objects import Depth
from executor.verify.open_hours import OpenHours
from executor.verify.run import Looked, Tallies, VerifyRun, ignore_progress
from s3migrate.commands.common import (
    emitter,
    follow_output,
    json_errors,
    json_option,
    plan_argument,
    quiet_option,
    read_plan,
    say,
    stop_at_signals,
    waits_told,
)
from s3migrate.plan_url import PlanUrl
from s3migrate.settings import read_settings
from s3migrate.views.proof_progress import ProofLines, expected_of
from s3migrate.views.verify_report import ReportFile, tallies_json
from s3migrate.wiring import KEPT, calendar_of, open_ledger, open_readers, preflight, reading_tools
from schema.errors import VerifyFailed
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, counted_text

NEVER_APPLIED = "This plan was not applied with this ledger: none of its objects count as copied."
FINDINGS_SHOWN = 20
"""Of each verdict, on the terminal."""
MOVED_BY_ANOTHER_PLAN = frozenset(
    {
        MismatchKind.MISSING,
        MismatchKind.NOT_COPIED,
        MismatchKind.DRIFTED,
        MismatchKind.CHANGED_SINCE,
        MismatchKind.NOT_IN_PLAN,
    }
)


@click.command("verify", short_help="Prove that source and destination are equal.")
@plan_argument
@click.option("--level", type=click.Choice([level.value for level in Depth]), default="head", show_default=True)
@click.option(
    "--sample", type=click.IntRange(1), help="Compare only this many objects (every key is still accounted for)."
)
@click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Every finding, as .jsonl, .csv, .md or .html.",
)
@quiet_option
@json_option
@json_errors
def verify_command(  # click passes one argument for each option
    *, plan_path: Path | PlanUrl, level: str, sample: int | None, report_path: Path | None, quiet: bool, as_json: bool
) -> int:
    """Prove that source and destination are equal for every object of PLAN.

    listing: both sides are listed and every key is accounted for. head: in addition, every object's headers,
    metadata, tags and checksums are compared. content: in addition, both sides are read and hashed.
    """
    settings = read_settings()
    live = follow_output(settings, silent=quiet or as_json)
    set_malloc_arenas()
    plan, manifests = read_plan(plan_path)
    stop = stop_at_signals()
    budget = plan.limits.memory or default_budget()
    emit = emitter(as_json)
    expected = expected_of(plan, deep=level != Depth.LISTING, sample=sample)
    with closing(open_ledger(settings, connections=KEPT)) as ledger:
        calm_collector()
        schedule_as_batch()
        run = ledger.runs.find(plan.plan_id)
        hours = OpenHours(calendar_of(plan, ledger, run), waits_told(emit), stop, "verify")
        with open_readers(plan, say, hours) as stores:
            preflight(stores, plan, say)
            if run is None:
                click.echo(NEVER_APPLIED, err=True)
            with ReportFile(report_path, plan, level) as report:
                verification = VerifyRun(
                    plan=plan,
                    routes=routes_of(plan, stores, budget),
                    manifests=manifests,
                    ledger=ledger,
                    run_id=run.run_id if run is not None else None,
                    level=Depth(level),
                    tools=reading_tools(budget, stop),
                    sample=sample,
                    on_progress=ignore_progress if quiet or as_json else _lines(expected, live=live).tell,
                )
                tallies = verification.run(_reporter(emit, report, many=len(plan.sections) > 1))
                report.conclude(tallies)
    return _conclude(tallies, level, emit)


def _lines(expected: Looked, *, live: bool) -> ProofLines:
    return ProofLines(partial(click.echo, err=True), time.monotonic, live, expected)


def _reporter(
    emit: Callable[[dict[str, Any]], None] | None, report: ReportFile, *, many: bool
) -> Callable[[Mismatch], None]:
    """Reports one finding. *many* sections: lines begin with the section, since a key alone is ambiguous."""
    shown: Counter[str] = Counter()

    def show(finding: Mismatch) -> None:
        report.add(finding)
        if finding.verdict is MismatchKind.NOT_MIGRATED:
            return  # the plan may leave out millions: counted at the end, named only in the report
        if emit is not None:
            kind = "note" if finding.verdict in NOTES else "finding"
            emit({"type": kind, **finding._asdict()})
            return
        shown[finding.verdict] += 1
        if shown[finding.verdict] <= FINDINGS_SHOWN:
            where = f"{finding.section}: " if many else ""
            click.echo(f"{finding.verdict}: {where}{one_line(finding.key)}: {one_line(finding.detail)}", err=True)
        elif shown[finding.verdict] == FINDINGS_SHOWN + 1:
            click.echo(f"... further {finding.verdict} are only counted; --report FILE lists them all", err=True)

    return show


def _what_next(found: Collection[MismatchKind]) -> str:
    """What to do about findings of these kinds; "" where each has its own cause."""
    steps = []
    if MOVED_BY_ANOTHER_PLAN & set(found):
        steps.append("plan again: the next plan moves what is missing or has changed")
    if MismatchKind.DIFFERENT in found:
        steps.append(
            "remove what is different at the destination before you plan again: a plan leaves a copy alone as long as "
            "it has the ETag it was written with"
        )
    return "".join(f"; {step}" for step in steps)


def _conclude(tallies: Tallies, level: str, emit: Callable[[dict[str, Any]], None] | None) -> int:
    counted = ", ".join(f"{count_text(n)} {verdict}" for verdict, n in sorted(tallies.findings.items()))
    if emit is not None:
        more = {"sampled": tallies.sampled, "not_migrated": sum(tallies.not_migrated.values())}
        emit({"type": "verify_complete", "level": level, **tallies_json(tallies), **more})
    if tallies.differing:
        wrong = counted_text(tallies.differing, "key")
        raise VerifyFailed(f"verify ({level}) found {wrong} wrong: {counted}{_what_next(tallies.findings)}")
    if emit is None:
        how = (
            ""
            if level == "listing"
            else f"{count_text(tallies.proven)} proven by {level}" + (" (a sample)" if tallies.sampled else "") + ", "
        )
        if tallies.archived:
            how += f"{count_text(tallies.archived)} of them archived, so that their content was not read, "
        kinds = ", ".join(f"{count_text(n)} {action}" for action, n in tallies.not_migrated.items())
        total = counted_text(sum(tallies.not_migrated.values()), "key")
        left = f"; not migrated, as planned: {total} ({kinds})" if kinds else ""
        click.echo(
            f"verify ({level}): {counted_text(tallies.planned, 'planned object')}, {how}every key accounted for{left}.",
            err=True,
        )
    return 0
