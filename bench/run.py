"""`make bench`: each workload, each contestant, three rounds alternating; medians and ratios as a table.

    python -m bench.run [--workload small ...] [--only s3migrate ...] [--rounds 3] [--scale 0.1] [--quick]

Both servers are `rclone serve s3` over folders on the RAM disk, started anew for each run, so that no run finds
the caches of the one before. The source's files are made once per workload. Client CPU is that of the process
and its children (wait4); our embedded PostgreSQL is reported beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.servers import RcloneServer, rclone_binary, temporary_folder

from bench import ROOT
from bench.contestants import CONTESTANTS, RCLONE_BEST, Contestant, Result
from bench.measure import CommandFailed
from bench.workloads import BUCKET, WORKLOADS, Workload, arrived

RESULTS = ROOT / "bench" / "results"
MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write bench/results/DATE.json. Exit code 1 when a contestant failed."""
    options = _options().parse_args(arguments)
    if options.quick:
        options.rounds, options.scale = 1, min(options.scale, 0.05)
    wanted = [w.scaled(options.scale) for w in WORKLOADS if not options.workload or w.name in options.workload]
    runners = [c for c in CONTESTANTS if not options.only or c.name in options.only]
    results: dict[str, Any] = {"machine": _machine(), "options": vars(options), "workloads": {}}
    failed = False
    for workload in wanted:
        runs, errors = bench_workload(workload, runners, options.rounds)
        failed = failed or bool(errors)
        results["workloads"][workload.name] = summary(workload, runs) | {"errors": errors}
        print(table(workload, results["workloads"][workload.name]), flush=True)
    if "plan" in (options.workload or ["plan"]) and not options.no_plan:
        results["plan"] = _plan_scale(options.scale)
    written = write(results, options.out)
    print(f"written: {written}")
    return 1 if failed else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Ours, rclone and boto3 side by side.")
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--workload", action="append", choices=[*names, "plan"], help="default: all; may be repeated")
    parser.add_argument("--only", action="append", choices=[c.name for c in CONTESTANTS], help="contestants")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of objects")
    parser.add_argument("--quick", action="store_true", help="one round at a twentieth")
    parser.add_argument("--no-plan", action="store_true", help="leave out the plan of 200,000 keys")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def bench_workload(
    workload: Workload, runners: Sequence[Contestant], rounds: int
) -> tuple[dict[str, list[Result]], dict[str, str]]:
    """All runs by contestant, and the last error of those that failed."""
    data = temporary_folder("s3migrate-bench-source-")
    runs: dict[str, list[Result]] = {runner.name: [] for runner in runners}
    errors: dict[str, str] = {}
    try:
        print(f"\n{workload.name}: {workload.objects:,} objects, {workload.bytes / 1e9:.2f} GB", flush=True)
        if shutil.disk_usage(data).free < 2.2 * workload.bytes:
            raise CommandFailed(f"not enough room on {data} for {workload.name} twice")
        workload.make(data)
        for number in range(rounds):
            for runner in _turned(runners, number):
                try:
                    result = one_run(workload, runner, data)
                except CommandFailed as failure:
                    errors[runner.name] = str(failure)
                    print(f"  round {number + 1}  {runner.name:15} FAILED: {failure}", flush=True)
                else:
                    runs[runner.name].append(result)
                    print(f"  round {number + 1}  {runner.name:15} {_said(workload, result)}", flush=True)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return runs, errors


def one_run(workload: Workload, runner: Contestant, data: Path) -> Result:
    """One contestant on fresh servers and an empty destination; what arrived is counted."""
    working = Path(tempfile.mkdtemp(prefix="s3migrate-bench-"))
    try:
        with RcloneServer(data) as source, RcloneServer() as destination:
            destination.create_bucket(BUCKET)
            result = runner.run(source, destination, working)
            there = arrived(destination.folder)
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
    if result.plan is not None:
        text += (
            f"  plan {result.plan.wall:.2f} s, ledger {result.ledger_cpu / workload.objects * 1e3:.3f} ms CPU/object"
        )
    return text


def summary(workload: Workload, runs: dict[str, list[Result]]) -> dict[str, Any]:
    """Medians of each contestant, and their ratios to rclone's best."""
    rows: dict[str, Any] = {}
    for name, results in runs.items():
        if not results:
            continue
        row = {
            "wall_seconds": statistics.median(r.measured.wall for r in results),
            "cpu_ms_per_object": statistics.median(r.measured.cpu for r in results) / workload.objects * 1e3,
            "peak_rss_mib": statistics.median(r.measured.peak_rss for r in results) / MIB,
            "plan_seconds": statistics.median(r.plan.wall if r.plan else 0.0 for r in results),
            "ledger_cpu_ms_per_object": statistics.median(r.ledger_cpu for r in results) / workload.objects * 1e3,
            "ledger_start_seconds": statistics.median(r.ledger_start for r in results),
            "runs": [{"measured": r.measured._asdict(), "plan": r.plan and r.plan._asdict()} for r in results],
        }
        rows[name] = row
    best = rows.get(RCLONE_BEST.name)
    for row in rows.values():
        if best is None:
            break
        row["wall_ratio"] = row["wall_seconds"] / best["wall_seconds"]
        row["wall_with_plan_ratio"] = (row["wall_seconds"] + row["plan_seconds"]) / best["wall_seconds"]
        row["cpu_ratio"] = row["cpu_ms_per_object"] / best["cpu_ms_per_object"]
    return {"objects": workload.objects, "bytes": workload.bytes, "contestants": rows}


def table(workload: Workload, found: dict[str, Any]) -> str:
    """For people."""
    head = f"{'median':16}{'wall s':>9}{'MB/s':>8}{'CPU ms/obj':>12}{'PG ms/obj':>11}{'RSS MiB':>9}{'plan s':>8}"
    lines = ["", head + f"{'wall x':>9}{'+plan x':>9}{'CPU x':>8}   (x: of rclone best)"]
    for name, row in found["contestants"].items():
        ratios = [row.get(key) for key in ("wall_ratio", "wall_with_plan_ratio", "cpu_ratio")]
        lines.append(
            f"{name:16}{row['wall_seconds']:9.2f}{workload.bytes / 1e6 / row['wall_seconds']:8.0f}"
            f"{row['cpu_ms_per_object']:12.3f}{row['ledger_cpu_ms_per_object']:11.3f}{row['peak_rss_mib']:9.0f}"
            f"{row['plan_seconds']:8.2f}" + "".join(f"{r:9.2f}" if r is not None else f"{'':>9}" for r in ratios)
        )
    return "\n".join(lines)


def write(results: dict[str, Any], folder: Path) -> Path:
    """bench/results/DATE.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(results, indent=1, default=str) + "\n")
    return path


def _plan_scale(scale: float) -> Any:
    from bench.plan_scale import measure_plans

    return measure_plans([max(200, round(20_000 * scale)), max(2_000, round(200_000 * scale))])


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
