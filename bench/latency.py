"""With 50 ms added to every request on both sides: ours with its defaults, rclone with its, rclone with 256 transfers.

python -m bench.latency [--objects 5000] [--milliseconds 50] [--rounds 1] [--only s3migrate ...]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from support.servers import RcloneServer, S3Server, temporary_folder

from bench import ROOT
from bench.contestants import Contestant, Ours, Rclone, Result
from bench.measure import CommandFailed
from bench.run import MIB, RESULTS, write
from bench.workloads import BUCKET, KB, Group, Workload, arrived

RCLONE_DEFAULT = Rclone("rclone default", ())
RCLONE_256 = Rclone("rclone 256", ("--transfers", "256", "--checkers", "256", "--s3-no-head"))
CONTESTANTS: tuple[Contestant, ...] = (Ours(), RCLONE_256, RCLONE_DEFAULT)


class FarServer(S3Server):
    """A server behind bench.delay_server."""

    kind = "delay"

    def __init__(self, near: S3Server, delay: float) -> None:
        super().__init__()
        self._near = near
        self._delay = delay

    def _command(self) -> list[str]:
        program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bench.delay_server as s; s.main()"
        options = ["--upstream", self._near.endpoint_url, "--delay", str(self._delay)]
        return [sys.executable, "-c", program, *options]


def one_run(workload: Workload, runner: Contestant, data: Path, delay: float) -> Result:
    """One contestant between two far servers."""
    working = Path(tempfile.mkdtemp(prefix="s3migrate-latency-"))
    try:
        with RcloneServer(data) as near, RcloneServer() as other:
            other.create_bucket(BUCKET)
            with FarServer(near, delay) as source, FarServer(other, delay) as destination:
                result = runner.run(source, destination, working)
            there = arrived(other.folder)
        if there != (workload.objects, workload.bytes):
            raise CommandFailed(f"{runner.name} copied {there}, not {(workload.objects, workload.bytes)}")
        return result
    finally:
        shutil.rmtree(working, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the medians and what the issue asks: at least 8 x rclone's defaults, not slower than its 256."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--objects", type=int, default=5_000)
    parser.add_argument("--milliseconds", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", action="append", choices=[c.name for c in CONTESTANTS])
    options = parser.parse_args(arguments)
    workload = Workload("latency", (Group(options.objects, 100 * KB),))
    data = temporary_folder("s3migrate-bench-source-")
    runs: dict[str, list[Result]] = {}
    try:
        workload.make(data)
        print(f"{options.objects:,} x 100 KB, {options.milliseconds:g} ms added to every request", flush=True)
        for _ in range(options.rounds):
            for runner in CONTESTANTS:
                if options.only and runner.name not in options.only:
                    continue
                result = one_run(workload, runner, data, options.milliseconds / 1e3)
                runs.setdefault(runner.name, []).append(result)
                m = result.measured
                rate = options.objects / m.wall
                print(
                    f"  {runner.name:15} {m.wall:8.2f} s  {rate:7.0f} objects/s  {m.peak_rss / MIB:5.0f} MiB",
                    flush=True,
                )
    finally:
        shutil.rmtree(data, ignore_errors=True)
    medians = {name: statistics.median(r.measured.wall for r in results) for name, results in runs.items()}
    mine = medians.get("s3migrate")
    for name in (RCLONE_DEFAULT.name, RCLONE_256.name):
        if mine and name in medians:
            print(f"  {medians[name] / mine:.2f} x as fast as {name}")
    written = write({"latency": {"options": vars(options), "wall_seconds": medians}}, RESULTS)
    print(f"written: {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
