"""A plan as one HTML file: what the Markdown says, with more rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import escape

from s3migrate.plan_url import PlanUrl
from s3migrate.views.page import render_page
from s3migrate.views.plan_text import stages_of
from s3migrate.views.review.costs import answers_of
from s3migrate.views.review.verdict import Sample, Verdict, apply_command, concerns_of, shares_of, verdict_of
from schema.formats.quantities import count_text, counted_text, size_text
from schema.plan import Plan

MOST = 200
"""Most rows of pairs, of risks and of losses."""
MOST_BATCHES = 1_000
NUMERIC = frozenset({"delete", "overwrite", "copy", "written", "objects", "bytes", "batches"})
"""Headings of columns that hold numbers."""


class Tile(NamedTuple):
    """One number of the verdict."""

    title: str
    number: int
    tone: str
    """bad, warn, good or none: the colour of its frame."""
    note: str = ""


def plan_html(plan: Plan, path: Path | PlanUrl, sample: Sample, *, changes: Sequence[str] | None = None) -> str:
    """The page of the plan at *path*; *changes* are lines of changes_text against the previous plan."""
    verdict = verdict_of(plan)
    listed = plan.provenance.get("generated_at")
    overview = plan.overview
    losses = [(section.id, loss) for section in plan.sections for loss in section.losses]
    return render_page(
        "plan.html",
        plan=plan,
        written=f"{counted_text(verdict.creates + verdict.overwrites, 'object')}, {size_text(verdict.bytes)}",
        listed=listed if isinstance(listed, str) else "",
        tiles=list(_tiles(verdict)),
        concerns=concerns_of(plan, verdict, path),
        answers=answers_of(plan),
        command=apply_command(plan, path),
        changes=None if changes is None else [escape(line) for line in changes],
        places=list(_places(plan)),
        shares=() if overview is None else shares_of(overview),
        largest=() if overview is None else overview.largest,
        sample=sample,
        losses=losses[:MOST],
        stages=stages_of(plan),
        numeric=NUMERIC,
        most=MOST,
        most_batches=MOST_BATCHES,
    )


def _tiles(verdict: Verdict) -> Iterator[Tile]:
    allowed = "" if verdict.max_overwrites is None else f"of ≤ {count_text(verdict.max_overwrites)} allowed"
    yield Tile("deletes", verdict.deletes, "bad" if verdict.deletes else "none")
    if verdict.delete_markers:
        yield Tile("delete markers", verdict.delete_markers, "warn")
    yield Tile("overwrites", verdict.overwrites, "bad" if verdict.overwrites else "none", allowed)
    yield Tile("creates", verdict.creates, "good" if verdict.creates else "none")
    yield Tile("losses not accepted", verdict.losses_not_accepted, "bad" if verdict.losses_not_accepted else "none")
    if verdict.losses_accepted:
        yield Tile("losses accepted", verdict.losses_accepted, "warn")
    yield Tile("not migrated", verdict.not_migrated, "warn" if verdict.not_migrated else "none")
    yield Tile("already there", verdict.already_there, "none")


def _places(plan: Plan) -> Iterator[dict[str, Any]]:
    overview = plan.overview
    if overview is None:
        return
    left = () if overview.places_left is None else (overview.places_left,)
    total = sum(place.objects for place in (*overview.places, *left)) or 1
    for place in (*overview.places, *left):
        name = f"{place.section}: {place.prefix}" if len(plan.sections) > 1 else place.prefix
        shown = "all other prefixes" if place is overview.places_left else name or "everything"
        yield {**place._asdict(), "name": shown, "permille": place.objects * 1000 // total}
