"""`make bench`: every case, every contestant, rounds alternating; medians and ratios as one table.

    python -m bench.run [--quick] [--case TEXT ...] [--only NAME ...] [--rounds 3] [--scale 0.1] [--publish]

Servers are started anew for each run, so that no run finds the caches of the one before. Client CPU is that of the
process and its children (wait4); our embedded PostgreSQL and the servers are reported beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.servers import ServerFailed, rclone_binary

from bench import ROOT
from bench.beds import Beds, lean_binary, possible
from bench.cases import Case, every_case, quick_cases
from bench.contestants import Contestant, Result
from bench.measure import CommandFailed
from bench.table import Row, publish, rows_of, table
from bench.workloads import Workload

RESULTS = ROOT / "bench" / "results"
MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write bench/results/DATE.json. Exit code 1 when a contestant failed."""
    options = _options().parse_args(arguments)
    rounds = options.rounds or (2 if options.quick else 3)
    cases = [case for case in (quick_cases() if options.quick else every_case()) if _wanted(case, options.case)]
    cases = [case._replace(workload=case.workload.scaled(options.scale)) for case in cases]
    left_out = [case.name for case in cases if not possible(case.place)]
    if left_out:
        print(f"no lean server here (no source or no compiler), left out: {'; '.join(left_out)}")
    rows: list[Row] = []
    failures: list[str] = []
    for case in cases:
        if possible(case.place):
            runners = [c for c in case.contestants if not options.only or c.name in options.only]
            runs, errors = bench_case(case, runners, rounds)
            failures += errors
            rows += rows_of(case, runs)
    results: dict[str, Any] = {"machine": _machine(), "rounds": rounds, "failures": failures}
    results["rows"] = [row._asdict() for row in rows]
    if not options.no_plan and not options.case:
        results["plan"] = _plan_scale(options.scale / (20 if options.quick else 1), rounds)
    print("\n" + table(rows))
    print(f"\nwritten: {write(results, options.out)}")
    if options.publish:
        publish(ROOT / "docs" / "bench.md", table(rows), results["machine"], rounds)
    return 1 if failures else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Ours and others side by side.")
    parser.add_argument("--case", action="append", help="cases whose name has this text in it; may be repeated")
    parser.add_argument("--only", action="append", help="contestants by name")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of objects")
    parser.add_argument("--quick", action="store_true", help="few cases, few objects, two rounds: under three minutes")
    parser.add_argument("--no-plan", action="store_true", help="leave out the plans of many keys")
    parser.add_argument("--publish", action="store_true", help="write the table into docs/bench.md")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def _wanted(case: Case, texts: Sequence[str] | None) -> bool:
    return not texts or any(text in case.name for text in texts)


def bench_case(case: Case, runners: Sequence[Contestant], rounds: int) -> tuple[dict[str, list[Result]], list[str]]:
    """All runs by contestant, and what went wrong."""
    runs: dict[str, list[Result]] = {runner.name: [] for runner in runners}
    errors: list[str] = []
    print(f"\n{case.name}: {case.workload.objects:,} objects, {case.workload.bytes / 1e9:.2f} GB", flush=True)
    try:
        beds = Beds(case.place, case.workload)
    except ServerFailed as failure:
        return runs, [f"{case.name}: {failure}"]
    try:
        for number in range(rounds):
            for runner in _turned(runners, number):
                try:
                    result = one_run(beds, case.workload, runner)
                except (CommandFailed, ServerFailed) as failure:
                    errors.append(f"{case.name}: {runner.name}: {failure}")
                    print(f"  round {number + 1}  {runner.name:15} FAILED: {failure}", flush=True)
                else:
                    runs[runner.name].append(result)
                    print(f"  round {number + 1}  {runner.name:15} {_said(case.workload, result)}", flush=True)
    finally:
        beds.close()
    return runs, errors


def one_run(beds: Beds, workload: Workload, runner: Contestant) -> Result:
    """One contestant on fresh servers and an empty destination; what arrived is counted."""
    working = Path(tempfile.mkdtemp(prefix="s3migrate-bench-"))
    try:
        with beds.fresh() as ends:
            result = runner.run(ends, working)
            there = ends.arrived()
        if there != (workload.objects, workload.bytes):
            raise CommandFailed(f"{runner.name} copied {there}, not {(workload.objects, workload.bytes)}")
        return result
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _turned(runners: Sequence[Contestant], by: int) -> list[Contestant]:
    """Another one begins each round, so that none always runs on a warm machine."""
    by %= max(1, len(runners))
    return [*runners[by:], *runners[:by]]


def _said(workload: Workload, result: Result) -> str:
    m = result.measured
    text = f"{m.wall:7.2f} s  {m.cpu / workload.objects * 1e3:9.3f} ms CPU/object  {m.peak_rss / MIB:6.0f} MiB"
    return text if result.plan is None else f"{text}  plan {result.plan.wall:.2f} s"


def write(results: dict[str, Any], folder: Path) -> Path:
    """bench/results/DATE.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(results, indent=1, default=str) + "\n")
    return path


def _plan_scale(scale: float, rounds: int) -> Any:
    from bench.plan_scale import measure_beside_rclone, measure_plans

    found: dict[str, Any] = measure_plans([max(200, round(20_000 * scale)), max(2_000, round(200_000 * scale))])
    if lean_binary() is not None:
        found["beside_rclone"] = measure_beside_rclone(max(1_000, round(1_000_000 * scale)), rounds)
    return found


def _machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    rclone = subprocess.run([rclone_binary(), "version"], capture_output=True, text=True, check=True)
    return {
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "rclone": rclone.stdout.splitlines()[0],
        "commit": commit.stdout.strip(),
        "load_at_start": os.getloadavg(),
    }


if __name__ == "__main__":
    sys.exit(main())
