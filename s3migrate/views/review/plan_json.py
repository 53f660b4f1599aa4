"""A plan for machines: the document, every batch, and the verdict in numbers, as in show-v1.schema.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from s3migrate.views.review.verdict import Verdict, verdict_of
from schema.files.plan_document import to_document
from schema.formats.plain import plain
from schema.plan import Level, Plan

FORMAT_VERSION = 1


def plan_json(plan: Plan) -> dict[str, Any]:
    """*plan* as one JSON document, with all batches even if the plan's file only refers to their index."""
    return {
        "format_version": FORMAT_VERSION,
        "verdict": verdict_json(plan),
        **to_document(plan),
        "batches": plain(plan.batches),
    }


def gitlab_json(plan: Plan) -> dict[str, int]:
    """What GitLab's Terraform report widget shows on a merge request."""
    verdict = verdict_of(plan)
    deletes = verdict.deletes + verdict.delete_markers
    return {"create": verdict.creates, "update": verdict.overwrites, "delete": deletes}


def verdict_json(plan: Plan) -> dict[str, Any]:
    """What policies decide by: counts, seconds, bytes and US dollars as numbers. null means unknown."""
    verdict: Verdict = verdict_of(plan)
    figures = plan.estimate.get("figures")
    cost = plan.estimate.get("cost_usd")
    known: Mapping[str, Any] = figures if isinstance(figures, dict) else {}
    return {
        **dataclasses.asdict(verdict),
        "not_migrated": verdict.not_migrated,
        "nothing_to_do": verdict.nothing_to_do,
        "high_risks": sum(risk.level is Level.HIGH for risk in plan.risks),
        "seconds": known.get("seconds"),
        "seconds_high": known.get("seconds_high"),
        "memory_per_worker_bytes": known.get("memory_per_worker_bytes"),
        "cost_usd": _number(cost.get("total")) if isinstance(cost, dict) else None,
    }


def _number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None
