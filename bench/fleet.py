"""A fleet on each engine: workers killed at random while they move many small objects, and what became of these.

    PYTHONPATH=tests python -m bench.fleet [ENGINE [OBJECTS [WORKERS [KILLS]]]]

ENGINE is local, dask, ray or slurm; for the last three a cluster of this one machine is started. 50,000 objects of
1 KB, 4 workers and 10 kills unless said otherwise. The kills are spread over the run. At the end each object must have
one completion, `ledger check` must find its rows as they were written, and `verify --level content` no difference.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg2
from support.clusters import dask_cluster, local, ray_cluster
from support.slurm import slurm_cluster

from bench.autoscale import WHOLE
from bench.beds import Ends, LeanServer
from bench.contestants import environment, ours
from bench.measure import EmbeddedLedger, run_or_fail
from bench.scale import planned, workload
from bench.workloads import BUCKET

CLUSTERS: Mapping[str, Callable[[dict[str, str]], AbstractContextManager[str]]] = {
    "local": local,
    "dask": dask_cluster,
    "ray": ray_cluster,
    "slurm": slurm_cluster,
}
AT_WORK = """
    SELECT pid FROM ledger.worker
     WHERE stopped_at IS NULL AND last_seen > now() - interval '20 seconds' ORDER BY worker_id"""
DONE = "SELECT (SELECT coalesce(sum(n_done), 0) FROM ledger.chunk WHERE kind = 0)"


def killed_at_random(fleet: subprocess.Popen[bytes], url: str, *, objects: int, kills: int) -> int:
    """Kill workers while *fleet* works, evenly over the objects; how many were killed."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    chance, killed = random.Random(11), 0
    with connection, connection.cursor() as cursor:
        while fleet.poll() is None:
            time.sleep(0.5)
            cursor.execute(DONE)
            (done,) = cursor.fetchone() or (0,)
            if not done or done < objects * killed / (kills + 1) or killed == kills:
                continue
            cursor.execute(AT_WORK)
            pids = [pid for (pid,) in cursor.fetchall() if Path(f"/proc/{pid}").exists()]
            if pids:
                os.kill(chance.choice(pids), signal.SIGKILL)
                killed += 1
    return killed


def moved(ends: Ends, folder: Path, name: str, *, objects: int, most: int, kills: int) -> None:
    """One run by the engine *name*, told as rows of a table."""
    words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
    planned(ends, folder, words)
    run_or_fail([ours(), "ledger", "migrate"], folder, words, folder / "ledger.log")
    url = subprocess.check_output([ours(), "ledger", "url"], cwd=folder, env=words, text=True).strip()
    words["S3MIGRATE_LEDGER"] = url
    with CLUSTERS[name](words) as engine:
        began = time.perf_counter()
        plan = str(folder / "bench.plan.yaml")
        command = [ours(), "apply", plan, "--json", "--engine", engine, "--processes", str(most)]
        surroundings = dict(os.environ) | words
        with (folder / "apply.log").open("ab") as log, (folder / "apply.json").open("wb") as told:
            fleet = subprocess.Popen(command, cwd=folder, env=surroundings, stdout=told, stderr=log)
            killed = killed_at_random(fleet, url, objects=objects, kills=kills)
        wall = time.perf_counter() - began
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(WHOLE)
        completions, distinct, workers, bad = cursor.fetchone() or (0, 0, 0, 0)
    last = json.loads((folder / "apply.json").read_text().splitlines()[-1])
    verified = run_or_fail([ours(), "verify", plan, "--level", "content"], folder, words, folder / "verify.log")
    run_or_fail([ours(), "ledger", "check"], folder, words, folder / "check.log")
    print(f"| {name}: apply | exit {fleet.returncode} in {wall:.0f} s, {last.get('done')} of {objects:,} done |")
    print(f"| {name}: completions | {completions:,}, distinct {distinct:,}, failed {bad} |")
    print(f"| {name}: workers | {workers} joined, {killed} killed |")
    print(f"| {name}: verify content | exit {verified.exit_code} in {verified.wall:.0f} s |", flush=True)


def main(arguments: Sequence[str]) -> int:
    """The table."""
    name, *numbers = [*arguments, *("local", "50000", "4", "10")[len(arguments) :]]
    objects, most, kills = map(int, numbers)
    work = workload("small", str(objects))
    folder = Path(tempfile.mkdtemp(prefix="s3m-fleet-"))
    print(f"| {name}, {work.name} | {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start |\n|---|---|")
    preload = [word for group in work.groups for word in ("--preload", f"{group.objects}:{group.size}")]
    ledger = EmbeddedLedger(folder / ".s3migrate")
    try:
        with LeanServer(preload, None) as source, LeanServer(["--bucket", BUCKET], None) as destination:
            try:
                moved(Ends(source, destination, None), folder, name, objects=objects, most=most, kills=kills)
            finally:
                ledger.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
