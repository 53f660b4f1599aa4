"""The report of a run for machines. New fields may appear; FORMAT_VERSION rises when one changes or is removed."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from enum import Enum
from typing import Any

from s3migrate.views.report.facts import FORMAT_VERSION, Equation, RunReport
from schema.exit_codes import ExitCode
from schema.flow.samples import SIDES, FlowCounts, FlowPoint

_LEFT_OUT = frozenset({"plan", "history", "flow"})
"""The plan is a separate document; the others are written below."""


def report_json(report: RunReport) -> dict[str, Any]:
    """A JSON document: times in ISO 8601, enums by name, seconds and bytes as numbers."""
    facts = {
        field.name: _plain(getattr(report, field.name))
        for field in dataclasses.fields(report)
        if field.name not in _LEFT_OUT
    }
    return {
        "format_version": FORMAT_VERSION,
        **facts,
        "flow": _flow(report.flow),
        "history": [_point(point) for point in report.history],
    }


def _point(point: FlowPoint) -> dict[str, Any]:
    return {"begins": point.begins.isoformat(), "step_seconds": point.seconds, **_flow(point.counts)}


def _flow(counts: FlowCounts) -> dict[str, Any]:
    return {
        "process_seconds": counts.seconds,
        "objects": counts.objects,
        "failed": counts.failed,
        "bytes": counts.bytes,
        "thread_seconds": {name.name.lower(): seconds for name, seconds in counts.threads.items()},
        **{
            side.value: {
                "requests": {kind.name.lower(): number for kind, number in counts.of(side).requests.items()},
                "throttled": counts.of(side).throttled,
                "failed": counts.of(side).failed,
                "bytes": counts.of(side).bytes,
            }
            for side in SIDES
        },
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Equation):
        terms = {term.name: term.objects for term in value.terms}
        return {"of": value.of, "objects": value.objects, "terms": terms, "holds": value.holds}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, ExitCode):
        return int(value)
    if isinstance(value, Enum):
        return value.name.lower()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(name): _plain(item) for name, item in value.items()}
    return value
