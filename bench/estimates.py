"""Does the estimate hold? Seven workloads between two lean servers: what the plan expected of apply, and what it took.

python -m bench.estimates [SCALE [WORKLOAD ...]]

SCALE 1: about a minute each on an idle machine of two cores. WORKLOAD: the first word of a name below; all, if none.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from support.certificates import self_signed

from bench.contestants import environment, ours
from bench.measure import EmbeddedLedger, run_or_fail
from bench.scale import Ended, applied, planned, servers
from bench.workloads import KB, MB, Group, Workload


class Case(NamedTuple):
    """One workload, and the options of its servers."""

    name: str
    groups: tuple[Group, ...]
    options: tuple[str, ...] = ()
    requests_per_second: int | None = None
    """Declared."""
    https: bool = False
    learning: float | None = None
    """Apply is stopped after so many seconds; what is left is planned again, and what that plan expects is compared."""


CASES = (
    Case("small: 1 KB", (Group(150_000, KB),)),
    Case("large: 100 MB", (Group(100, 100 * MB),)),
    Case("mixed: 10 KB, 1 MB, 50 MB", (Group(60_000, 10 * KB), Group(2_000, MB), Group(40, 50 * MB))),
    Case("https: 100 KB", (Group(60_000, 100 * KB),), https=True),
    Case("50 ms away: 10 KB", (Group(60_000, 10 * KB),), ("--delay-ms", "50")),
    Case(
        "throttled at 500/s: 10 KB",
        (Group(60_000, 10 * KB),),
        ("--limit-rps", "500", "--discard=100000"),  # two plans have two canaries, which are read back
        learning=25.0,
    ),
    Case("limited to 500/s: 10 KB", (Group(20_000, 10 * KB),), (), 500),
)


def row(case: Case, scale: float, folder: Path) -> str:
    """One line of the table."""
    work = Workload(case.name, tuple(Group(max(1, round(g.objects * scale)), g.size) for g in case.groups))
    tls = self_signed(folder) if case.https else None
    with servers(work, *case.options, tls=tls) as ends:
        words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
        ledger = EmbeddedLedger(folder / ".s3migrate")
        try:
            limits: dict[str, object] = {}
            if case.requests_per_second is not None:
                limits["requests_per_second"] = case.requests_per_second
            planned(ends, folder, words, limits=limits)
            run_or_fail([ours(), "ledger", "migrate"], folder, words, folder / "ledger.log")
            if case.learning is not None:
                applied(folder, words, ended=Ended(case.learning, signal.SIGTERM))
                planned(ends, folder, words, limits=limits)
            plan: dict[str, Any] = yaml.safe_load((folder / "bench.plan.yaml").read_text())
            estimate = plan["estimate"]
            objects = sum(batch["objects"] for batch in plan["batches"])
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
        f"{objects:,}",
        f"{seen['read_us']} / {seen['write_us']} us",
        f"{machine['md5_us']} us",
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
    "MD5 of a MiB",
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
