"""An autoscaler over local processes: what KEDA does with `ledger.scaling`, and kills at random.

    python -m bench.autoscale [OBJECTS [MOST [KILLS]]]      1,000,000 objects of 1 KB, 4 workers, 40 kills unless said

One leading process works to the end. Every second the loop asks the ledger how many workers the run can use, and
starts what is missing beside the leader (`apply --leave-when-idle`), never more than MOST in all; now and then, when
MOST are wanted and at work, it kills one with SIGKILL. Prints what became of the objects, and draws workers wanted
and at work into docs/pictures/.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2.extensions

from bench.contestants import ours
from bench.measure import run_or_fail
from bench.run_bed import PLAN, RunBed, Seen, end_of, planned_run
from bench.scale import servers, workload
from s3migrate.views.charts import Chart, Point, line_chart

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "autoscaler.svg"
STYLE = (
    "<style>.grid{stroke:#ddd}.tick{font:10px sans-serif;fill:#555}.line{fill:none;stroke:#2563eb;stroke-width:1.5}"
    ".area{fill:#2563eb22}.limit{fill:none;stroke:#d97706;stroke-dasharray:4 3}</style>"
)
FLEET = """
    SELECT (SELECT coalesce(max(desired_workers), 0) FROM ledger.scaling),
           (SELECT count(*) FROM ledger.run WHERE state IN (1, 2, 3)),
           (SELECT coalesce(sum(n_done), 0) FROM ledger.chunk WHERE kind = 0)"""


@dataclass(slots=True)
class Scaler:
    """The loop's memory."""

    bed: RunBed
    most: int
    kills: int
    chance: random.Random
    leader: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    line: list[tuple[float, int, int]] = field(default_factory=list)
    """Moment, workers wanted (at most MOST), workers at work."""
    seen: Seen = field(default_factory=Seen)
    worst: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    """Exit code -> workers that ended so."""

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """One more apply."""
        command = [ours(), "apply", PLAN, "--json", "--processes", "1", *options]
        log = (self.bed.folder / "workers.log").open("ab")
        return subprocess.Popen(command, cwd=self.bed.folder, env=self.bed.words, stdout=subprocess.DEVNULL, stderr=log)

    def round(self, wanted: int, share: float, cursor: psycopg2.extensions.cursor) -> None:
        """Scale as KEDA's default strategy does, then kill one, if it is time for that and MOST are at work."""
        if self.leader is None or self.leader.poll() not in (None, 0):
            self.leader = self.start()  # as its Job would
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            self.workers.remove(worker)
            self.ends[worker.returncode] = self.ends.get(worker.returncode, 0) + 1
        target = min(wanted, self.most)
        for _ in range(max(0, target - 1 - len(self.workers))):
            self.workers.append(self.start("--leave-when-idle"))
        running = len(self.workers) + (self.leader.poll() is None)
        self.worst = max(self.worst, running)
        at_work = self.seen.look(cursor)
        self.line.append((time.time(), target, len(at_work)))
        if self.seen.killed < self.kills * share and target == self.most <= len(at_work):
            self.seen.kill(self.chance.choice(at_work))


def scaled(scaler: Scaler, objects: int) -> None:
    """Until the run has ended and every process with it."""
    scaler.leader = scaler.start()
    connection = psycopg2.connect(scaler.bed.url)
    connection.autocommit = True
    begun = False
    with connection, connection.cursor() as cursor:
        while True:
            time.sleep(1.0)
            cursor.execute(FLEET)
            wanted, unfinished, done = cursor.fetchone() or (0, 0, 0)
            begun = begun or bool(unfinished)
            if begun and not unfinished:
                break
            scaler.round(int(wanted), int(done) / objects, cursor)
        for process in [scaler.leader, *scaler.workers]:
            process.wait()
            scaler.ends[process.returncode] = scaler.ends.get(process.returncode, 0) + 1
    end = end_of(scaler.bed)
    print(f"| completions | {end.completions:,}, distinct {end.distinct:,}, failed {end.failed} |")
    print(f"| workers | {end.workers} joined, {scaler.seen.killed} killed; {scaler.seen.shares()} |")
    print(f"| processes at once | {scaler.worst} at the most |")
    print(f"| exit codes | {json.dumps({str(code): count for code, count in sorted(scaler.ends.items())})} |")


def draw(scaler: Scaler) -> None:
    """Workers at work, and wanted as the dashed line."""
    at_work = [Point(at, workers) for at, _, workers in scaler.line]
    wanted = [Point(at, target) for at, target, _ in scaler.line]
    chart = Chart(
        "workers", "Workers at work (line) and wanted (dashed)", at_work, 1.0, lambda n: f"{n:g}", limit=wanted
    )
    svg = line_chart(chart).replace("<title", STYLE + "<title", 1)
    PICTURE.write_text(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n")


def main(arguments: Sequence[str]) -> int:
    """The table and the picture."""
    objects, most, kills = (int(word) for word in [*arguments, *("1000000", "4", "40")[len(arguments) :]])
    work = workload("small", str(objects))
    folder = Path(tempfile.mkdtemp(prefix="s3m-autoscale-"))
    print(f"| {work.name} | {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start |\n|---|---|")
    try:
        with servers(work) as ends, planned_run(ends, folder) as bed:
            scaler = Scaler(bed, most, kills, random.Random(7))
            began = time.perf_counter()
            scaled(scaler, objects)
            print(f"| apply | {time.perf_counter() - began:.0f} s |")
            draw(scaler)
            command = [ours(), "verify", PLAN, "--level", "listing"]
            verified = run_or_fail(command, folder, bed.words, folder / "verify.log")
            print(f"| verify, listing | {verified.wall:.0f} s, exit {verified.exit_code} |")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
