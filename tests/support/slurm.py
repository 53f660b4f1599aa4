"""A Slurm of one node on this machine, of Debian's packages: munged, slurmctld, slurmd. Needs root."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.watched_run import until


def free_port() -> int:
    """A port of this machine that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _configuration(folder: Path, node: str) -> str:
    return f"""\
ClusterName=bed
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=600
NodeName={node} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def slurm_cluster(environment: Mapping[str, str]) -> Iterator[str]:
    """The engine's name, with SLURM_CONF and *environment* set for what is started meanwhile."""
    saved = dict(os.environ)
    node = socket.gethostname().partition(".")[0]
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, contextlib.ExitStack() as ending:
        folder = Path(name)
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(64))
        key.chmod(0o400)
        (folder / "slurm.conf").write_text(_configuration(folder, node))
        files = {
            "key-file": key,
            "socket": "munge.socket",
            "pid-file": "munged.pid",
            "log-file": "munged.log",
            "seed-file": "seed",
        }
        daemons = (
            ["munged", "--foreground", "--force", *(f"--{option}={folder / file}" for option, file in files.items())],
            ["slurmctld", "-D", "-f", str(folder / "slurm.conf")],
            ["slurmd", "-D", "-N", node, "-f", str(folder / "slurm.conf")],
        )
        os.environ.update(environment, SLURM_CONF=str(folder / "slurm.conf"))
        ending.callback(lambda: (os.environ.clear(), os.environ.update(saved)))
        for command in daemons:
            daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            ending.callback(daemon.wait)
            ending.callback(daemon.terminate)
            if command[0] == "munged":
                until((folder / "munge.socket").exists)
        until(lambda: "idle" in subprocess.run(["sinfo", "-h"], capture_output=True, text=True).stdout)
        yield "slurm"
