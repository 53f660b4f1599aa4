"""A plan as people and machines read it: every batch with its method, every method with its reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from support.sample_plan import large_plan, sample_plan

from s3migrate.cli import cli
from s3migrate.console.failure import run_click
from s3migrate.views.plan_text import batches_text, plan_text, summary_of
from s3migrate.views.review.plan_markdown import plan_markdown
from s3migrate.views.review.verdict import Sample
from schema.files.plan_document import MAX_INLINE_BATCHES
from schema.files.planfile import write_plan
from schema.plan import DELETES, Gate, Method, Plan, Stage

COPIED = "both sides are one endpoint,\nwhich copies"


def mixed_plan() -> Plan:
    """photos: one batch each by the endpoint, streamed and of deletes; logs: two streamed."""
    plan = sample_plan()
    copied, streamed, *others = plan.batches
    copied = dataclasses.replace(copied, method=Method.SERVER_COPY)
    deleting = dataclasses.replace(streamed, id="deletes-0", tier="deletes", stage=DELETES, method=None)
    reasons = {"server-copy": COPIED, "stream": "parts are not copied"}
    sections = (dataclasses.replace(plan.sections[0], methods=reasons), plan.sections[1])
    stages = (*plan.stages, Stage(DELETES, (), Gate.COPIED))
    return dataclasses.replace(plan, sections=sections, stages=stages, batches=(copied, streamed, *others, deleting))


def test_batches_stand_under_their_method_and_its_reason() -> None:
    heads = [line for line in batches_text(mixed_plan()) if not line.startswith("  ")]
    assert heads == [
        r"batches of photos by server-copy: both sides are one endpoint,\nwhich copies",
        "batches of photos by stream: parts are not copied",
        "batches of logs by stream: the endpoints differ",
        "batches that delete",
    ]
    rows = [line.split("  ")[1:4] for line in batches_text(mixed_plan()) if line.startswith("  ")]
    assert [(name, place, how.partition(",")[0]) for name, place, how in rows] == [
        ("tiny-p0", "photos/canary", "by server-copy"),
        ("tiny-p1", "photos/bulk", "by stream"),
        ("tiny-l0", "logs/canary", "by stream"),
        ("tiny-l1", "logs/bulk", "by stream"),
        ("deletes-0", "photos/deletes", "3 objects"),
    ]


def test_every_view_counts_what_travels_by_each_method() -> None:
    plan = mixed_plan()
    assert r"by server-copy: both sides are one endpoint,\nwhich copies (1 batch, 3 objects, 300 B)" in plan_text(plan)
    assert "  by stream: the endpoints differ (2 batches, 6 objects, 600 B)" in plan_text(plan)
    markdown = plan_markdown(plan, Path("p.yaml"), Sample(()))
    assert "- `photos` by **stream**: `parts are not copied` (1 batch, 3 objects, 300 B)" in markdown
    assert "| deletes-0 | photos | deletes | delete | 3 | 300 B |" in markdown
    assert summary_of(plan)["methods"] == [
        {"section": "photos", "method": "server-copy", "reason": COPIED, "batches": 1, "objects": 3, "bytes": 300},
        {"section": "photos", "method": "stream", "reason": "parts are not copied", "batches": 1, "objects": 3,
         "bytes": 300},
        {"section": "logs", "method": "stream", "reason": "the endpoints differ", "batches": 2, "objects": 6,
         "bytes": 600},
    ]  # fmt: skip


def test_the_batches_of_a_very_large_plan_are_shown_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document names their index only; markdown names the first hundred and counts the rest."""
    plan = large_plan(max(121, MAX_INLINE_BATCHES + 1))
    path = tmp_path / "p.yaml"
    write_plan(path, plan)
    assert run_click(cli, ["show", str(path), "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [batch["method"] for batch in shown["batches"]] == ["stream"] * len(plan.batches)
    assert shown["batch_index"]["count"] == len(plan.batches)
    text = plan_markdown(plan, path, Sample(()))
    assert f"and {len(plan.batches) - 100} more: `s3migrate show`" in text
    assert text.count("| bulk | stream |") == 100
