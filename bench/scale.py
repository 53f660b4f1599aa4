"""The design's scale tests on two lean servers, bytes discarded at the destination: planned, applied, verified.

    python -m bench.scale small [OBJECTS]      1 KB each; 1,000,000 unless said otherwise, 10,000,000 for the design's
    python -m bench.scale large [OBJECTS]      100 MB each, with a kill -9 in the middle; 100 unless said otherwise
    python -m bench.scale resumed [OBJECTS]    1 KB each: a plan that is killed at its half, and gone on with
    python -m bench.scale mixed [SCALE]        900,000 x 100 KB, 900 x 10 MB, 1 x 1 GB, times SCALE; 0.1 unless said

Prints one table: how long each command took, CPU and memory, objects a second in each tenth, the ledger's folder, and
what the plan had estimated.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.beds import Ends, LeanServer
from bench.contestants import declaration, environment, losses_of, ours
from bench.measure import CommandFailed, EmbeddedLedger, Measured, MemoryWatch, run_or_fail, tree_cpu_of
from bench.workloads import BUCKET, GB, KB, MB, Group, Workload
from schema.errors import FinishedWithFailures

MIB = 1 << 20
PART = 16 * MIB
KEPT_BODIES = 1200
"""More than the canary and the probe write: these are read back."""
KEPT_PARTS = 200
"""The same where most objects travel in parts: the canary has few of them, and each of these takes memory."""


class Reached(NamedTuple):
    """How far an apply was at one moment."""

    seconds: float
    """Since its start."""
    objects: int
    """Done."""
    cpu: float
    """Seconds that its processes had used."""


class Applied(NamedTuple):
    """What an apply did."""

    measured: Measured
    progress: list[Reached]
    """About once a second."""


def workload(kind: str, argument: str | None) -> Workload:
    """What is moved."""
    if kind in ("small", "resumed"):
        objects = int(argument or 1_000_000)
        return Workload(f"{objects:,} x 1 KB", (Group(objects, KB),))
    if kind == "large":
        objects = int(argument or 100)
        return Workload(f"{objects:,} x 100 MB", (Group(objects, 100 * MB),))
    mixed = Workload("mixed", (Group(900_000, 100 * KB), Group(900, 10 * MB), Group(1, GB)))
    return mixed.scaled(float(argument or 0.1))


@contextmanager
def servers(work: Workload, *options: str, tls: tuple[Path, Path] | None = None) -> Iterator[Ends]:
    """A source that makes its bytes up, and a destination that keeps none; both with *options*.

    *tls*: certificate and key, where they are to speak https.
    """
    preload = [word for group in work.groups for word in ("--preload", f"{group.objects}:{group.size}")]
    usual = work.groups[0].size
    kept = KEPT_BODIES if usual < PART else KEPT_PARTS
    reserve = min(kept * min(usual, PART), work.bytes) // MIB + 64  # a page touched first costs more than its bytes
    keeping = ["--bucket", BUCKET, f"--discard={kept}", "--reserve", str(reserve)]
    with LeanServer([*preload, *options], tls) as source, LeanServer([*keeping, *options], tls) as destination:
        yield Ends(source, destination, None if tls is None else tls[0])


def planned(
    ends: Ends,
    folder: Path,
    words: Mapping[str, str],
    *,
    limits: dict[str, object] | None = None,
    ways: Sequence[str] = (),
) -> Measured:
    """Plan, accepting what the destination cannot keep; *ways*: URLs that all lead to it, besides its own."""
    measured = Measured(0, 0.0, 0.0, 0)
    accepted: list[str] = []
    for _ in range(2):
        declared: dict[str, Any] = declaration(ends, limits or {}, accepted)
        if ways:
            declared["destination"]["endpoint_url"] = [ends.destination.endpoint_url, *ways]
        (folder / "migration.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
        command = [ours(), "plan", "migration.yaml", "-o", "bench.plan.yaml"]
        measured = run_or_fail(command, folder, words, folder / "plan.log")
        if set(losses := losses_of(folder / "bench.plan.yaml")) <= set(accepted):
            break
        accepted = losses
    return measured


class Ended(NamedTuple):
    """How an apply is ended before its time."""

    seconds: float
    """After its start."""
    signal: signal.Signals


def applied(folder: Path, words: Mapping[str, str], *, ended: Ended | None = None) -> Applied:
    """Apply, watched, and ended when told to."""
    started, progress = time.perf_counter(), list[Reached]()
    process = subprocess.Popen(
        [ours(), "apply", "bench.plan.yaml", "--json"],
        cwd=folder,
        env=dict(words),
        stdout=subprocess.PIPE,
        stderr=(folder / "apply.log").open("ab"),
        text=True,
    )
    memory = MemoryWatch(process.pid)
    killer = threading.Timer(ended.seconds, os.kill, (process.pid, ended.signal)) if ended else None
    if killer is not None:
        killer.start()
    for line in process.stdout or ():
        told = json.loads(line)
        if "done" in told:
            progress.append(Reached(time.perf_counter() - started, int(told["done"]), tree_cpu_of(process.pid)))
    _, status, usage = os.wait4(process.pid, 0)
    if killer is not None:
        killer.cancel()
    memory.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    cpu = usage.ru_utime + usage.ru_stime
    return Applied(Measured(process.returncode, wall, cpu, memory.peak), progress)


def tenths(progress: Sequence[Reached], objects: int) -> list[tuple[Reached, Reached]]:
    """Beginning and end of each tenth of the run, by the progress that came next to each."""
    found, before = [], Reached(0.0, 0, 0.0)
    for tenth in range(1, 11):
        reached = next((at for at in progress if at.objects >= objects * tenth // 10), None)
        if reached is None or reached.seconds <= before.seconds:
            continue
        found.append((before, reached))
        before = reached
    return found


def folder_size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(work: Workload, folder: Path, *, kill: bool) -> Iterator[tuple[str, str]]:
    """The rows of the table."""
    with servers(work) as ends:
        words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
        ledger = EmbeddedLedger(folder / ".s3migrate")
        try:
            yield "plan", _told(planned(ends, folder, words))
            document: dict[str, Any] = yaml.safe_load((folder / "bench.plan.yaml").read_text())
            yield "plan document", f"{len((folder / 'bench.plan.yaml').read_text().splitlines())} lines"
            manifests = list((folder / "manifests").glob("*"))
            yield "manifests", f"{len(manifests)} files, {sum(p.stat().st_size for p in manifests) / MIB:.1f} MiB"
            yield "estimated", str(document["estimate"]["duration"])
            run_or_fail([ours(), "ledger", "migrate"], folder, words, folder / "ledger.log")
            if kill:
                # The first half of what was estimated, at least the start.
                seconds = max(3.0, document["estimate"]["figures"]["seconds"] / 2)
                yield "apply, killed", _told(applied(folder, words, ended=Ended(seconds, signal.SIGKILL)).measured)
            done = applied(folder, words)
            yield "apply", _told(done.measured)
            if kill and done.measured.exit_code == FinishedWithFailures.exit_code:
                removed = remove_unproven(ends, folder, words)
                yield "in place at the kill, not checkpointed, and not shown by the server: removed", str(removed)
                run_or_fail([ours(), "retry"], folder, words, folder / "retry.log")
                yield "apply, after retry", _told(applied(folder, words).measured)
            parts = tenths(done.progress, work.objects)
            per_second = [(end.objects - start.objects) / (end.seconds - start.seconds) for start, end in parts]
            yield "objects/s by tenth", ", ".join(f"{rate:,.0f}" for rate in per_second)
            spent = [1000 * (end.cpu - start.cpu) / (end.objects - start.objects) for start, end in parts]
            yield "ms of CPU an object by tenth", ", ".join(f"{each:.3f}" for each in spent)
            yield "ledger's CPU", f"{ledger.cpu():.1f} s"
            yield "ledger's folder", f"{folder_size(folder / '.s3migrate') / MIB:,.0f} MiB"
            command = [ours(), "verify", "bench.plan.yaml", "--level", "listing"]
            yield "verify, listing", _told(run_or_fail(command, folder, words, folder / "verify.log"))
            objects, size = ends.arrived()
            yield "arrived", f"{objects:,} objects, {size:,} bytes of {work.objects:,} and {work.bytes:,}"
        finally:
            ledger.stop()


def resumed(work: Workload, folder: Path) -> Iterator[tuple[str, str]]:
    """The rows of the table: a plan, the same one killed at half its time, and gone on with."""
    with servers(work) as ends:
        words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
        whole = planned(ends, folder, words)
        yield "plan", _told(whole)
        command = [ours(), "plan", "migration.yaml", "-o", "killed.plan.yaml"]
        process = subprocess.Popen(command, cwd=folder, env=dict(words), stderr=subprocess.DEVNULL)
        killer = threading.Timer(whole.wall / 2, process.kill)
        killer.start()
        yield "killed at its half, exit", str(process.wait())
        killer.cancel()
        yield "checkpoint", f"{folder_size(folder / '.s3migrate') / MIB:.1f} MiB"
        yield "gone on with", _told(run_or_fail(command, folder, words, folder / "resumed.log"))
        yield "it said", next(line for line in (folder / "resumed.log").read_text().splitlines() if "goes on" in line)
        plans = [yaml.safe_load((folder / f"{name}.plan.yaml").read_text()) for name in ("bench", "killed")]
        yield (
            "the same batches and inventories",
            str(plans[0]["batches"] == plans[1]["batches"] and plans[0]["sections"] == plans[1]["sections"]),
        )
        yield "left behind", f"{folder_size(folder / '.s3migrate')} bytes"


def remove_unproven(ends: Ends, folder: Path, words: Mapping[str, str]) -> int:
    """Remove what was written just before the kill and cannot be proven now, for this server discards bodies: any other
    would have shown them, and they would have been adopted. How many objects. Raises CommandFailed for other failures.
    """
    command = [ours(), "status", "--json"]
    said = subprocess.run(command, cwd=folder, env=dict(words), capture_output=True, text=True, check=True).stdout
    failed = [told for told in map(json.loads, said.splitlines()) if told["type"] == "failure"]
    others = [told for told in failed if "--discard" not in told["message"]]
    if others:
        raise CommandFailed(f"{len(others)} objects failed for another reason: {others[0]}")
    client = ends.destination.client()
    for told in failed:
        client.delete_object(Bucket=BUCKET, Key=told["key"])
    return len(failed)


def _told(found: Measured) -> str:
    memory = f"{found.peak_rss / MIB:.0f} MiB"
    return f"{found.wall:.1f} s, {found.cpu:.1f} s of CPU, {memory}, exit {found.exit_code}"


def main(arguments: Sequence[str]) -> int:
    """The table."""
    kind, argument = arguments[0], arguments[1] if len(arguments) > 1 else None
    work = workload(kind, argument)
    folder = Path(tempfile.mkdtemp(prefix="s3m-scale-"))
    print(f"| {work.name} | {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start |\n|---|---|")
    try:
        rows = resumed(work, folder) if kind == "resumed" else measured(work, folder, kill=kind == "large")
        for name, told in rows:
            print(f"| {name} | {told} |", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("small", "large", "resumed", "mixed"):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
