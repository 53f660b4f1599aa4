"""explain: everything known about one key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from executor.ledger.ledger import Ledger
from executor.ledger.values import ChunkKind, ChunkState, Lane, Outcome
from s3migrate.commands.common import PLAN_PLACE, json_errors, json_lines, json_option, read_plan, spelled
from s3migrate.plan_url import PlanUrl
from s3migrate.settings import read_settings
from s3migrate.wiring import ledger_if_any
from schema.errors import KeyUnknown, UsageError
from schema.files.manifest import ManifestStore, read_entries
from schema.formats.escape import one_line
from schema.plan import SOURCE_ACTIONS, Entry, Plan


@click.command("explain", short_help="Everything known about one key.")
@click.argument("key")
@click.option("--plan", "plan_path", metavar="PLAN", type=PLAN_PLACE, help="[the only plans/*.plan.yaml]")
@json_option
@json_errors
def explain_command(key: str, plan_path: Path | PlanUrl | None, as_json: bool) -> None:
    """What the plan decided for KEY and why, and what the ledger knows about it.

    KEY is a complete source or destination key, spelled as s3migrate shows it (\\n, \\x1b... for control characters).
    """
    wanted = spelled(key)
    plan, manifests = read_plan(plan_path or _only_plan())
    ledger = ledger_if_any(read_settings())
    found = 0
    try:
        for facts in _known(plan, manifests, ledger, keys={wanted, key}):
            found += 1
            if as_json:
                json_lines().emit({"type": "explain", **facts})
            else:
                for line in _lines(facts):
                    click.echo(line)
                click.echo()
    finally:
        if ledger is not None:
            ledger.close()
    if not found:
        raise KeyUnknown(f"{one_line(key)} is in no manifest of this plan; it was not listed when the plan was made")


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """One line per fact; a ledger row has its own line, without its empty columns."""
    for name, value in facts.items():
        rows = value if isinstance(value, list) else [value]
        for row in rows:
            said = row
            if isinstance(row, Mapping):
                said = ", ".join(f"{column} {_plain(cell)}" for column, cell in row.items() if cell not in (None, ""))
            if said is not None:
                yield f"{name.replace('_', ' '):18} {one_line(_plain(said))}"


def _plain(value: object) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _only_plan() -> Path:
    plans = sorted(Path("plans").glob("*.plan.yaml"))
    if len(plans) != 1:
        raise UsageError(f"there are {len(plans)} plans in plans/; name one with --plan")
    return plans[0]


def _known(plan: Plan, manifests: ManifestStore, ledger: Ledger | None, *, keys: set[str]) -> Iterator[dict[str, Any]]:
    run = ledger.runs.find(plan.plan_id) if ledger is not None else None
    reasons = {section.id: section.methods for section in plan.sections}
    for batch_no, batch in enumerate(plan.batches):
        for ord, entry in read_entries(manifests, batch.manifest):
            if keys & {entry.key, entry.target}:
                facts = _entry_facts(batch.section, entry)
                facts |= {"batch": batch.id, "stage": batch.stage, "line": ord}
                if batch.method is not None:
                    facts |= {"method": batch.method.value, "method_reason": reasons[batch.section][batch.method]}
                if ledger is not None and run is not None:
                    facts |= _in_words(ledger.reports.explain(run.run_id, batch_no, ord))
                else:
                    facts["ledger"] = "the plan has not been applied yet"
                yield facts
    for section in plan.sections:
        for name, digest in section.side_manifests.items():
            for _, entry in read_entries(manifests, digest):
                if keys & {entry.key, entry.target}:
                    yield {**_entry_facts(section.id, entry), "side_manifest": name}


def _in_words(facts: dict[str, Any]) -> dict[str, Any]:
    """The ledger's rows with names instead of enum numbers."""
    completion = facts["completion"]
    if completion is not None:
        completion = {**completion, "outcome": Outcome(completion["outcome"]).name.lower()}
    chunks = [
        {
            **chunk,
            "kind": ChunkKind(chunk["kind"]).name.lower(),
            "lane": Lane(chunk["lane"]).name.lower(),
            "state": ChunkState(chunk["state"]).name.lower(),
        }
        for chunk in facts["chunks"]
    ]
    return {**facts, "completion": completion, "chunks": chunks}


def _entry_facts(section: str, entry: Entry) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "key": entry.key,
        "destination_key": entry.target,
        "section": section,
        "action": entry.action.value,
        "size": entry.size,
    }
    if entry.action in SOURCE_ACTIONS:
        facts["source_etag"] = entry.etag
    if entry.reason:
        facts["reason"] = entry.reason
    if entry.destination_etag:
        facts["destination_etag"] = entry.destination_etag
    if entry.version_id:
        facts["version"] = entry.version_id
    return facts
