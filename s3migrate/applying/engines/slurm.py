"""Workers as batch jobs of Slurm: sbatch, scontrol and scancel must be on the path, and the folder shared by all nodes.

Other job options (partition, account, time limit) are set with sbatch's own environment variables: SBATCH_PARTITION,
SBATCH_ACCOUNT, SBATCH_TIMELIMIT and so on.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence

from s3migrate.applying.engines.engine import WorkerEnd, command
from schema.errors import ConnectionFailed

_FIELD = re.compile(r"\b(JobState|ExitCode)=(\S+)")
_GOING_ON = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "STOPPED", "RESIZING"}
)


class SlurmEngine:
    """See Engine. A worker's output goes to /dev/null: everything is in the ledger."""

    def __init__(self) -> None:
        self._jobs: list[str] = []
        _ask("scontrol", "ping")

    def place(self, words: Sequence[str]) -> None:
        line = shlex.join(command(words))
        options = ("--parsable", "--job-name=s3migrate", "--ntasks=1", "--no-requeue", "--output=/dev/null")
        self._jobs.append(_ask("sbatch", *options, f"--wrap=exec {line}").partition(";")[0])

    def placed(self) -> int:
        return len(self._jobs)

    def ended(self) -> list[WorkerEnd]:
        ends = []
        for job in tuple(self._jobs):
            fields = dict(_FIELD.findall(_ask("scontrol", "show", "job", "--oneliner", job, missing="")))
            if fields.get("JobState") in _GOING_ON:
                continue
            self._jobs.remove(job)
            code, _, number = fields.get("ExitCode", "0:1").partition(":")
            ends.append(
                WorkerEnd(-int(number) or int(code), f"Slurm: job {job} {fields.get('JobState', 'is forgotten')}")
            )
        return ends

    def stop(self) -> None:
        for job in self._jobs:
            _ask("scancel", "--state=PENDING", job, missing="")
            _ask("scancel", "--batch", "--signal=TERM", job, missing="")

    def close(self) -> None:
        self.stop()


def _ask(*words: str, missing: str | None = None) -> str:
    """What a Slurm command prints. When it fails: *missing* if given, else ConnectionFailed is raised."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ConnectionFailed(f"cannot run {words[0]}: {error.strerror}; is Slurm installed here?") from None
    if done.returncode == 0:
        return done.stdout.strip()
    if missing is not None:
        return missing
    raise ConnectionFailed(f"{words[0]} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
