"""Two ways to one destination, one near and narrow, one far and wide: which does a run use, and what is it worth?

    PYTHONPATH=tests python -m bench.candidates [OBJECTS]        200 objects of 1 MiB unless said otherwise

The near way adds 1 ms and carries 4 MiB/s, the far one 40 ms and 40 MiB/s. Each is declared alone, then both, the near
one first; the plan can ask the empty destination for round trips only and takes the near one. Also 2,000 objects of
1 KB, where the near way is the right one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import yaml

from bench.beds import CountedServer, Ends, FarServer, LeanServer
from bench.contestants import ours
from bench.run_bed import PLAN, planned_run
from bench.workloads import BUCKET, KB

MIB = 1 << 20
SMALL = 2_000
NEAR = (0.001, 4.0 * MIB)
FAR = (0.040, 40.0 * MIB)


def moved(objects: int, size: int, *, near: bool, far: bool) -> str:
    """What one run over the declared ways was."""
    folder = Path(tempfile.mkdtemp(prefix="s3m-candidates-"))
    try:
        with ExitStack() as stack:
            source = stack.enter_context(LeanServer(["--preload", f"{objects}:{size}"], None))
            kept = stack.enter_context(LeanServer(["--bucket", BUCKET, "--discard=1200"], None))
            ways = {
                name: (counter, stack.enter_context(FarServer(counter, delay, bytes_per_second=rate)))
                for (name, (delay, rate)), declared in zip((("near", NEAR), ("far", FAR)), (near, far), strict=True)
                if declared
                for counter in (stack.enter_context(CountedServer(kept)),)
            }
            first, *others = [way for _, way in ways.values()]
            urls = [way.endpoint_url for way in others]
            bed = stack.enter_context(planned_run(Ends(source, first, None), folder, ways=urls))
            plan = yaml.safe_load((folder / PLAN).read_text())
            chosen = plan["sections"][0]["destination"]["endpoint_url"]
            name = next(name for name, (_, way) in ways.items() if way.endpoint_url == chosen)
            began = time.perf_counter()
            command = [ours(), "apply", PLAN, "--processes", "1"]
            done = subprocess.run(command, cwd=folder, env=dict(bed.words), capture_output=True, check=False)
            wall = time.perf_counter() - began
            writes = {name: counter.writes()["writes"] for name, (counter, _) in ways.items()}
            return f"{name} | exit {done.returncode} in {wall:.0f} s | {writes}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows(objects: int) -> Iterator[str]:
    """The table's."""
    for count, size, what in ((objects, MIB, "1 MiB"), (SMALL, KB, "1 KB")):
        for declared in ((True, False), (False, True), (True, True)):
            near, far = declared
            names = [name for name, there in (("near", near), ("far", far)) if there]
            yield f"{count:,} x {what} | {' and '.join(names)} | {moved(count, size, near=near, far=far)}"


def main(arguments: Sequence[str]) -> int:
    """The table."""
    print(f"load {os.getloadavg()[0]:.1f} at the start\n")
    print("| objects | declared | planned | apply | writes by each way |\n|---|---|---|---|---|")
    for row in rows(int(arguments[0]) if arguments else 200):
        print(f"| {row} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
