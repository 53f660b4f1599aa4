"""Does the estimate hold? Six workloads between two lean servers: what the plan expected of apply, and what it took.

python -m bench.estimates [SCALE]       SCALE 1: about a minute each on an idle machine of two cores
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.contestants import environment, ours
from bench.measure import EmbeddedLedger, run_or_fail
from bench.scale import planned, servers
from bench.workloads import KB, MB, Group, Workload


class Case(NamedTuple):
    """One workload, and the options of its servers."""

    name: str
    groups: tuple[Group, ...]
    options: tuple[str, ...] = ()
    requests_per_second: int | None = None
    """Declared."""


CASES = (
    Case("small: 1 KB", (Group(150_000, KB),)),
    Case("large: 100 MB", (Group(100, 100 * MB),)),
    Case("mixed: 10 KB, 1 MB, 50 MB", (Group(60_000, 10 * KB), Group(2_000, MB), Group(40, 50 * MB))),
    Case("50 ms away: 10 KB", (Group(60_000, 10 * KB),), ("--delay-ms", "50")),
    Case("throttled at 500/s: 10 KB", (Group(20_000, 10 * KB),), ("--limit-rps", "500")),
    Case("limited to 500/s: 10 KB", (Group(20_000, 10 * KB),), (), 500),
)


def row(case: Case, scale: float, folder: Path) -> str:
    """One line of the table."""
    work = Workload(case.name, tuple(Group(max(1, round(g.objects * scale)), g.size) for g in case.groups))
    with servers(work, *case.options) as ends:
        words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
        ledger = EmbeddedLedger(folder / ".s3migrate")
        try:
            limited = case.requests_per_second
            planned(ends, folder, words, limits={} if limited is None else {"requests_per_second": limited})
            estimate: dict[str, Any] = yaml.safe_load((folder / "bench.plan.yaml").read_text())["estimate"]
            run_or_fail([ours(), "ledger", "migrate"], folder, words, folder / "ledger.log")
            done = run_or_fail([ours(), "apply", "bench.plan.yaml"], folder, words, folder / "apply.log")
        finally:
            ledger.stop()
    expected = int(estimate["figures"]["seconds"])
    measured = estimate["assumptions"].get("measured", {}).get("bench", {})
    told = f"{measured.get('read_ms', '-')} / {measured.get('write_ms', '-')} ms"
    return (
        f"| {work.name} | {work.objects:,} | {told} | {expected} s | {done.wall:.1f} s | {done.wall / expected:.2f} | "
        f"{done.cpu:.1f} s | {estimate['duration']['bound_by']} |"
    )


def main(arguments: Sequence[str]) -> int:
    """The table."""
    scale = float(arguments[0]) if arguments else 1.0
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, scale {scale:g}\n")
    print("| workload | objects | read / write seen | expected | took | ratio | CPU of apply | bound by |")
    print("|---|--:|--:|--:|--:|--:|--:|---|")
    for case in CASES:
        folder = Path(tempfile.mkdtemp(prefix="s3m-estimate-"))
        try:
            print(row(case, scale, folder), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
