"""Every page we make, of a run of any size with hostile names, as files; and what axe-core says of a page."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from executor.ledger.ledger import Ledger
from executor.verify.listing import Mismatch, MismatchKind
from executor.verify.run import Tallies
from s3migrate.views.report.facts import report_of
from s3migrate.views.report.html import report_html
from s3migrate.views.review.plan_html import plan_html
from s3migrate.views.verify_report import ReportFile
from s3migrate.watching.run_page import run_page, runs_page
from s3migrate.watching.snapshot import snapshot_of
from support.chromium import Page
from support.hostile_plan import HOSTILE, hostile_plan, hostile_sample
from support.reported_run import reported_plan, reported_run
from support.sample_plan import sample_plan

ROOT = Path(__file__).parents[2]
CHUNKS = 40
SERIOUS = ("serious", "critical")


def write_pages(ledger: Ledger, objects: int, folder: Path) -> list[Path]:
    """The pages of one run, half-way and ended, of a plan and of a verify: NAME.html each, for the names below."""
    plan, step = reported_plan(objects), max(5, objects // CHUNKS)
    half, _ = reported_run(ledger, plan, step=step, until=max(1, min(CHUNKS, objects // step) // 2))
    pages = {
        "live": run_page(snapshot_of(ledger, half)),
        "running-report": report_html(report_of(ledger, half.run_id)),
        "runs": runs_page(ledger.runs.all()),
        "plan": plan_html(hostile_plan(), Path("plans/x.plan.yaml"), hostile_sample()),
    }
    ended, _ = reported_run(ledger, plan, step=step)
    ledger.runs.finish(ended.run_id)
    pages["report"] = report_html(report_of(ledger, ended.run_id))
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    _write_verify_report(objects, folder / "verify.html")
    return [folder / f"{name}.html" for name in (*pages, "verify")]


def _write_verify_report(objects: int, to: Path) -> None:
    tallies = Tallies(planned=objects, proven=objects)
    with ReportFile(to, sample_plan(), "head") as report:
        for kind in MismatchKind:
            for key in HOSTILE:
                finding = Mismatch("photos", kind, key, key, key)
                tallies.add(finding)
                report.add(finding)
        report.conclude(tallies)


def axe_script() -> Path | None:
    """axe-core's script: $AXE_CORE, or the one that npm or `make strict` installed here; None: there is none."""
    places = [Path(os.environ["AXE_CORE"])] if "AXE_CORE" in os.environ else []
    places += [ROOT / "node_modules/axe-core/axe.min.js"]
    places += ROOT.glob(".strict/lib/python*/site-packages/axe_core_python/axe.min.js")
    return next((place for place in places if place.exists()), None)


def complaints(page: Page, axe: Path) -> list[str]:
    """What axe-core finds that is serious or critical: one line for each rule, with the first element."""
    page.run(axe.read_text(encoding="utf-8") + ";0")
    found: list[dict[str, Any]] = json.loads(page.run("axe.run().then(r => JSON.stringify(r.violations))"))
    return [
        f"{each['impact']} {each['id']}: {each['help']} ({len(each['nodes'])}): {each['nodes'][0]['html'][:200]}"
        for each in found
        if each["impact"] in SERIOUS
    ]
