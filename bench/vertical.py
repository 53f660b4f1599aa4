"""Four times the limits, four times the throughput? Between two servers that answer each request 50 ms late.

    PYTHONPATH=tests python -m bench.vertical [OBJECTS [WORKERS]]

1,200 objects of 1 KB and 4 workers, then 16 with four times the memory, unless said otherwise. Waiting bounds both, so
the rate between a fifth and nine tenths of each run tells what the limits are worth.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.run_bed import planned_run
from bench.scale import Reached, applied, servers, workload

DELAY_MS = 50
MEMORY_MIB = 64
TIMES = 4


def rate_of(progress: Sequence[Reached], objects: int) -> float:
    """Objects a second, without the start and the end."""
    first = next(at for at in progress if at.objects >= objects / 5)
    last = next(at for at in progress if at.objects >= objects * 9 / 10)
    return (last.objects - first.objects) / (last.seconds - first.seconds)


def moved(objects: int, workers: int, memory_mib: int) -> float:
    """The rate of one run with these limits."""
    folder = Path(tempfile.mkdtemp(prefix="s3m-vertical-"))
    limits: dict[str, object] = {"workers": workers, "memory": f"{memory_mib}MiB"}
    try:
        work = workload("small", str(objects))
        with servers(work, "--delay-ms", str(DELAY_MS)) as ends, planned_run(ends, folder, limits=limits) as bed:
            done = applied(folder, bed.words)
            rate = rate_of(done.progress, objects)
            measured = done.measured
            print(
                f"| {workers} workers, {memory_mib} MiB | exit {measured.exit_code} in {measured.wall:.0f} s | "
                f"{rate:.1f} objects/s | {measured.cpu:.1f} s of CPU |",
                flush=True,
            )
            return rate
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """The table."""
    objects, workers = map(int, [*arguments, *("1200", "4")[len(arguments) :]])
    print(f"| {objects:,} x 1 KB, {DELAY_MS} ms | load {os.getloadavg()[0]:.1f} at the start | | |\n|---|---|---|---|")
    once = moved(objects, workers, MEMORY_MIB)
    more = moved(TIMES * objects, TIMES * workers, TIMES * MEMORY_MIB)
    print(f"| {TIMES} times the limits | | {more / once:.2f} times the rate | |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
