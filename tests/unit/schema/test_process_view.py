"""What a process sees: written, read by another version, and several taken together."""

from __future__ import annotations

import json

from s3migrate.applying.crew import combined
from schema.limits import RunLimits
from schema.process_view import BreakerState, EndpointView, ProcessView, Quality

OLD = EndpointView(3, 1, 12.5, 1e6, 80.0, 0.25, 0.1, 40.0, Quality.POOR, BreakerState.OPEN, 4.5)
NEW = EndpointView(1, 0, 2.5, 5e5, 20.0, quality=Quality.DEGRADED)
VIEW = ProcessView(
    workers=8,
    why="growing",
    endpoints={"old:443": OLD, "new:443": NEW},
    busy=5,
    waiting="endpoint old:443 does not answer",
    moved={"old:443": "https://other"},
    limits=RunLimits({"bandwidth": 9.0}, {"bandwidth": "plan"}),
    share=0.5,
)


def test_a_view_comes_back_from_json() -> None:
    assert ProcessView.from_json(json.loads(json.dumps(VIEW.to_json()))) == VIEW
    assert ProcessView.from_json(ProcessView(1, "").to_json()) == ProcessView(1, "")


def test_what_another_version_adds_or_lacks_does_no_harm() -> None:
    end = {**NEW.to_json(), "temperature": 30, "quality": "excellent", "breaker": None}
    said = {"workers": 8, "endpoints": {"new:443": end}, "limits": None, "colour": "blue"}

    view = ProcessView.from_json(said)

    assert (view.workers, view.why, view.limits) == (8, "", None)
    assert view.endpoints["new:443"].rtt_ms == 2.5
    assert view.endpoints["new:443"].quality is Quality.GOOD


def test_several_processes_are_told_as_one() -> None:
    one = ProcessView(8, "growing", {"old:443": OLD})
    other = ProcessView(4, "limited", {"old:443": NEW, "new:443": NEW})

    both = combined([one, other, None])

    assert (both.workers, both.why) == (12, "3 processes, growing, limited")
    assert both.endpoints["new:443"] == NEW
    assert both.endpoints["old:443"] == EndpointView(
        4, 1, 12.5, 1.5e6, 100.0, 0.25, 0.1, 40.0, Quality.POOR, BreakerState.OPEN, 4.5
    )
