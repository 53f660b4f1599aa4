"""Does the estimate hold? Six workloads between two lean servers: what the plan expected of apply, and what it took.

python -m bench.estimates [SCALE [WORKLOAD ...]]

SCALE 1: about a minute each on an idle machine of two cores. WORKLOAD: the first word of a name below; all, if none.
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
            served, stored = ends.cpu(), ledger.cpu()
            done = run_or_fail([ours(), "apply", "bench.plan.yaml"], folder, words, folder / "apply.log")
            served, stored = ends.cpu() - served, ledger.cpu() - stored
        finally:
            ledger.stop()
    figures, assumed = estimate["figures"], estimate["assumptions"]
    expected, processor = int(figures["seconds"]), int(figures["processor_ms"]) / 1000
    seen, machine = assumed["measured"]["bench"], assumed["machine"]
    cells = [
        work.name,
        f"{work.objects:,}",
        f"{seen['read_us']} / {seen['write_us']} us",
        f"{machine['request_us']} / {machine['mib_us']} us",
        f"{assumed['worker_processes']}",
        f"{expected} s",
        f"{done.wall:.1f} s",
        f"{done.wall / expected:.2f}",
        f"{processor:.1f} s",
        f"{done.cpu:.1f} + {stored:.1f} + {served:.1f} s",
        f"{done.cpu / processor:.2f}",
        str(estimate["duration"]["bound_by"]),
    ]
    return f"| {' | '.join(cells)} |"


HEADINGS = (
    "workload",
    "objects",
    "read / write seen",
    "CPU of a request / MiB",
    "processes",
    "expected",
    "took",
    "ratio",
    "CPU expected of apply",
    "CPU of apply + ledger + servers",
    "ratio",
    "bound by",
)


def main(arguments: Sequence[str]) -> int:
    """The table."""
    scale = float(arguments[0]) if arguments else 1.0
    named = [case for case in CASES if not arguments[1:] or case.name.split()[0].strip(":") in arguments[1:]]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, scale {scale:g}\n")
    print(f"| {' | '.join(HEADINGS)} |\n|---{'|--:' * (len(HEADINGS) - 2)}|---|")
    for case in named:
        folder = Path(tempfile.mkdtemp(prefix="s3m-estimate-"))
        try:
            print(row(case, scale, folder), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
