"""A plan of a million objects is shown in two seconds and 150 MiB, and compared by the manifests that differ."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.planning import BUDGET, Bucket, declare, md5, pair_inputs

from planner.build import build_plan
from planner.difference import difference_of, object_changes
from planner.inputs import PlanInputs
from schema.files.manifest import ManifestFolder
from schema.files.planfile import write_plan
from schema.objects import ListedObject
from schema.plan import Plan

SHOW = """
import sys
from s3migrate.cli import cli
from s3migrate.console.failure import run_click
code = run_click(cli, sys.argv[1:])
with open("/proc/self/status") as status:  # a peak that is this program's own: rusage knows that of who forked it
    print(*(line for line in status if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""
ROOT = Path(__file__).parents[2]
OBJECTS = 1_000_000
CHANGED = range(500_000, 510_000)


def planned(objects: list[ListedObject], manifests: ManifestFolder, base: Plan | None) -> Plan:
    declaration = declare()
    pair = pair_inputs(declaration, Bucket(objects, sort=False), Bucket([]))
    return build_plan(PlanInputs(declaration, {"main": pair}, manifests, manifests.root / "staging", BUDGET, base=base))


@pytest.mark.soak
@pytest.mark.alone
def test_a_plan_of_a_million_objects_is_shown_and_compared_at_once(tmp_path: Path) -> None:
    manifests = ManifestFolder(tmp_path / "manifests")
    etag, other = md5("a"), md5("b")
    objects = [ListedObject(f"d{n // 1000:04}/{n:07}.jpg", 3_000, etag, 1_500_000_000_000) for n in range(OBJECTS)]
    plan = planned(objects, manifests, None)
    write_plan(tmp_path / "p.yaml", plan, manifests)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run(
        [sys.executable, "-c", SHOW, "show", str(tmp_path / "p.yaml"), "--format", "md"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.encode()) < 16_000
    assert "creates 1,000,000" in shown.stdout
    assert "20 objects drawn by the plan's hash" in shown.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert int(shown.stderr.split()[1]) < 150 * 1024, shown.stderr

    for n in CHANGED:
        objects[n] = objects[n]._replace(etag=other)
    following = planned(objects, manifests, plan)
    difference = difference_of(plan, following)
    began = time.process_time()
    assert sum(1 for _ in object_changes(difference, manifests, manifests)) == len(CHANGED)
    assert time.process_time() - began < 2
    read = sum(batch.objects for batch in (*difference.left, *difference.entered))
    assert read <= 0.06 * 2 * OBJECTS, "one batch in twenty, and the canaries, of each plan"
