"""A fleet on each engine: workers killed at random while they move many small objects, and what became of these.

    PYTHONPATH=tests python -m bench.fleet [ENGINE [OBJECTS [WORKERS [KILLS]]]]

ENGINE is local, dask, ray or slurm; for the last three a cluster of this one machine is started. 50,000 objects of
1 KB, 4 workers and 10 kills unless said otherwise. The kills are spread over the run's objects, and each waits until as
many workers as there should be are at work: so that there is time for a worker to start between two, the run is limited
to PACE requests a second. At the end each object must have one completion, `ledger check` must find its rows as they
were written, and `verify --level content` no difference.
Before the destination stands bench.write_counter: a key that was written twice is told apart from a write that a later
worker tried again after a kill, and that was refused because the object was there (If-None-Match), or not at all.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import psycopg2
from support.clusters import dask_cluster, local, ray_cluster
from support.slurm import slurm_cluster

from bench.beds import CountedServer, Ends, LeanServer
from bench.contestants import ours
from bench.measure import run_or_fail
from bench.run_bed import PLAN, RunBed, Seen, end_of, planned_run
from bench.scale import workload
from bench.workloads import BUCKET

CLUSTERS: Mapping[str, Callable[[dict[str, str]], AbstractContextManager[str]]] = {
    "local": local,
    "dask": dask_cluster,
    "ray": ray_cluster,
    "slurm": slurm_cluster,
}
PACE = 600
"""Requests a second at each end."""
LOOK_SECONDS = 0.5
WANTED_EACH = 5_000
"""Objects left for each worker that a run wants (ledger.scaling): so towards its end it wants fewer."""
DONE = "SELECT (SELECT coalesce(sum(n_done), 0) FROM ledger.chunk WHERE kind = 0)"


def killed_at_random(fleet: subprocess.Popen[bytes], url: str, *, objects: int, most: int, kills: int) -> Seen:
    """Kill workers while *fleet* works, evenly over the objects, whenever *most* are at work."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    each = (objects - WANTED_EACH * most) / (kills + 1)
    chance, seen = random.Random(11), Seen()
    with connection, connection.cursor() as cursor:
        while fleet.poll() is None:
            time.sleep(LOOK_SECONDS)
            cursor.execute(DONE)
            (done,) = cursor.fetchone() or (0,)
            if not 0 < done < objects:
                continue
            pids = seen.look(cursor)
            if len(pids) >= most and seen.killed < kills and done >= each * (seen.killed + 1):
                seen.kill(chance.choice(pids))
    return seen


def moved(bed: RunBed, name: str, *, objects: int, most: int, kills: int, counter: CountedServer) -> Iterator[str]:
    """One run by the engine *name*, told as rows of a table."""
    folder, words = bed.folder, bed.words
    with CLUSTERS[name](words) as engine:
        began = time.perf_counter()
        command = [ours(), "apply", str(folder / PLAN), "--json", "--engine", engine, "--processes", str(most)]
        with (folder / "apply.log").open("ab") as log, (folder / "apply.json").open("wb") as told:
            fleet = subprocess.Popen(command, cwd=folder, env=dict(os.environ) | words, stdout=told, stderr=log)
            seen = killed_at_random(fleet, bed.url, objects=objects, most=most, kills=kills)
        wall = time.perf_counter() - began
    end, writes = end_of(bed), counter.writes()
    last = json.loads((folder / "apply.json").read_text().splitlines()[-1])
    yield f"apply | exit {fleet.returncode} in {wall:.0f} s, {last.get('done')} of {objects:,} done"
    yield f"completions | {end.completions:,}, distinct {end.distinct:,}, failed {end.failed}"
    yield f"workers | {end.workers} joined, {seen.killed} killed; of {most} placed at a time {seen.shares()}"
    yield (
        f"the destination | {writes['keys']:,} keys in {writes['writes']:,} writes, {writes['written_twice']} keys "
        f"twice, {writes['refused_of_written']} tried again after a kill and refused since the object was there"
    )
    verify = [ours(), "verify", str(folder / PLAN), "--level", "content"]
    verified = run_or_fail(verify, folder, words, folder / "verify.log")
    yield f"verify content | exit {verified.exit_code} in {verified.wall:.0f} s"
    checked = run_or_fail([ours(), "ledger", "check"], folder, words, folder / "check.log")
    yield f"ledger check | exit {checked.exit_code}"


def main(arguments: Sequence[str]) -> int:
    """The table."""
    name, *numbers = [*arguments, *("local", "50000", "4", "10")[len(arguments) :]]
    objects, most, kills = map(int, numbers)
    work = workload("small", str(objects))
    folder = Path(tempfile.mkdtemp(prefix="s3m-fleet-"))
    print(f"| {name}, {work.name} | {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start |\n|---|---|")
    preload = [word for group in work.groups for word in ("--preload", f"{group.objects}:{group.size}")]
    try:
        with ExitStack() as stack:
            source = stack.enter_context(LeanServer(preload, None))
            kept = stack.enter_context(LeanServer(["--bucket", BUCKET], None))
            counter = stack.enter_context(CountedServer(kept))
            bed = stack.enter_context(
                planned_run(Ends(source, counter, None), folder, limits={"requests_per_second": PACE})
            )
            for row in moved(bed, name, objects=objects, most=most, kills=kills, counter=counter):
                print(f"| {row} |", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
