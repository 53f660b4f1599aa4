"""The engines of a fleet on this one machine, for the time of a block: Dask, Ray; beside them, no engine at all."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from support.slurm import free_port
from support.watched_run import until


@contextlib.contextmanager
def dask_cluster(environment: dict[str, str]) -> Iterator[str]:
    """A scheduler and a worker of four threads whose nanny starts it again."""
    from distributed import LocalCluster

    saved = dict(os.environ)
    os.environ.update(environment)
    try:
        with LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=None) as cluster:
            yield cluster.scheduler_address.replace("tcp://", "dask://")
    finally:
        os.environ.clear()
        os.environ.update(saved)


@contextlib.contextmanager
def ray_cluster(environment: dict[str, str]) -> Iterator[str]:
    """A head with four places, reached as Ray's clients reach it. Ends only what it has started."""
    head, clients = free_port(), free_port()
    words = (
        str(Path(sys.executable).with_name("ray")),
        *("start", "--head", "--block", "--num-cpus=4", f"--port={head}", f"--ray-client-server-port={clients}"),
        *("--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=100000000"),
    )
    surroundings = {**os.environ, **environment}
    ray = subprocess.Popen(words, env=surroundings, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        until(partial(answers, clients))
        yield f"ray://127.0.0.1:{clients}"
    finally:
        ray.terminate()
        try:
            ray.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(ray.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    """Whether something on this machine accepts connections at *port*."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def local(_environment: dict[str, str]) -> Iterator[str]:
    yield "local"
