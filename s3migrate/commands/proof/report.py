"""report: a run in one file, for readers who were not there; from the ledger alone, even while the run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from s3migrate.commands.common import PLAN_PLACE, chosen_run, json_errors, plan_of_run, write_output
from s3migrate.plan_url import PlanUrl
from s3migrate.settings import read_settings
from s3migrate.views.report.facts import RunReport, report_of
from s3migrate.views.report.html import report_html
from s3migrate.views.report.json import report_json
from s3migrate.views.report.markdown import report_markdown
from s3migrate.views.report.objects import Objects, Shape
from s3migrate.wiring import open_ledger
from schema.errors import UsageError
from schema.formats.quantities import counted_text

FORMS: dict[str, Callable[[RunReport], str]] = {
    ".html": report_html,
    ".md": report_markdown,
    ".json": lambda report: json.dumps(report_json(report), indent=1) + "\n",
}


@click.command("report", short_help="A run in one file: verdict, figures, curves, failures.")
@click.argument("run_id", metavar="RUN", type=int, required=False)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file ending in .html, .md or .json."
)
@click.option("--objects", type=click.Path(path_type=Path), help="Every object: a file ending in .jsonl or .csv.")
@click.option(
    "--shape",
    type=click.Choice([shape.value for shape in Shape]),
    default=Shape.ROWS.value,
    show_default=True,
    help="Of --objects; the others are folders, as S3 Batch Operations and DataSync leave them.",
)
@click.option("--plan", "plan_path", metavar="PLAN", type=PLAN_PLACE, help="For --objects  [the one in plans/]")
@json_errors
def report_command(
    *, run_id: int | None, output: Path | None, objects: Path | None, shape: str, plan_path: Path | PlanUrl | None
) -> None:
    """How RUN (default: the latest) went, or is going: the outcome of every key, planned and actual figures, curves,
    failures with what to do next, and what proves it. Without -o: Markdown on stdout.
    """
    if objects is not None:
        _write_objects(run_id, objects, Shape(shape), plan_path=plan_path)
        if output is None:
            return
    form = FORMS.get(".md" if output is None else output.suffix)
    if form is None:
        raise UsageError(f"-o {output}: the name must end in one of {', '.join(FORMS)}")
    with closing(open_ledger(read_settings())) as ledger:
        report = report_of(ledger, chosen_run(ledger, run_id).run_id)
    text = form(report)
    if output is None:
        click.echo(text, nl=False)
        return
    write_output(output, text.encode("utf-8", "backslashreplace"))
    click.echo(f"{output}: {report.verdict.sentence}", err=True)


def _write_objects(run_id: int | None, path: Path, shape: Shape, *, plan_path: Path | PlanUrl | None) -> None:
    with closing(open_ledger(read_settings())) as ledger:
        run = chosen_run(ledger, run_id)
        plan, manifests = plan_of_run(run, plan_path)
        count = Objects(plan, manifests, ledger, run.run_id).write(path, shape)
    click.echo(f"{path}: {counted_text(count, 'object')}", err=True)
