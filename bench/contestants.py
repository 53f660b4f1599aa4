"""Who runs: how each contestant is started on a pair of servers, and what is measured of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import yaml
from support.servers import S3Server, rclone_binary, scrubbed_environment

from bench.measure import CommandFailed, EmbeddedLedger, Measured, run, run_or_fail
from bench.workloads import BUCKET


class Result(NamedTuple):
    """One run of one contestant."""

    measured: Measured
    plan: Measured | None = None
    """Ours only: the plan, timed apart; the others list while they copy."""
    ledger_cpu: float = 0.0
    """Ours only: CPU seconds of the embedded PostgreSQL during apply."""
    ledger_start: float = 0.0
    """Ours only: seconds to create and start the embedded PostgreSQL, once per working folder."""


class Contestant(Protocol):
    """A way of copying a bucket."""

    name: str

    def run(self, source: S3Server, destination: S3Server, folder: Path) -> Result:
        """Copy all of BUCKET; *folder* is an empty one to work in. Raises CommandFailed."""


def environment(source: S3Server, destination: S3Server) -> dict[str, str]:
    """Every contestant's endpoints and keys, in its own words."""
    words = {"SOURCE_URL": source.endpoint_url, "DESTINATION_URL": destination.endpoint_url, "BUCKET": BUCKET}
    words |= {"AWS_ACCESS_KEY_ID": source.access_key, "AWS_SECRET_ACCESS_KEY": source.secret_key}
    words["AWS_DEFAULT_REGION"] = source.region
    for ours, theirs, server in (("OLD", "SRC", source), ("NEW", "DST", destination)):
        words[f"{ours}_AWS_ACCESS_KEY_ID"] = server.access_key
        words[f"{ours}_AWS_SECRET_ACCESS_KEY"] = server.secret_key
        words |= {
            f"RCLONE_CONFIG_{theirs}_TYPE": "s3",
            f"RCLONE_CONFIG_{theirs}_PROVIDER": "Rclone",
            f"RCLONE_CONFIG_{theirs}_ENDPOINT": server.endpoint_url,
            f"RCLONE_CONFIG_{theirs}_ACCESS_KEY_ID": server.access_key,
            f"RCLONE_CONFIG_{theirs}_SECRET_ACCESS_KEY": server.secret_key,
        }
    # A checkout is compiled once, as an installed package is.
    return {k: v for k, v in (scrubbed_environment() | words).items() if k != "PYTHONDONTWRITEBYTECODE"}


class Rclone:
    """`rclone copy` with some flags."""

    def __init__(self, name: str, flags: Sequence[str]) -> None:
        self.name = name
        self._flags = tuple(flags)

    def run(self, source: S3Server, destination: S3Server, folder: Path) -> Result:
        """See Contestant."""
        command = [rclone_binary(), "copy", f"src:{BUCKET}", f"dst:{BUCKET}", "--config", "", *self._flags]
        return Result(run_or_fail(command, folder, environment(source, destination), folder / "log"))


class Boto3Pool:
    """bench/boto3_pool.py."""

    name = "boto3"

    def run(self, source: S3Server, destination: S3Server, folder: Path) -> Result:
        """See Contestant."""
        command = [sys.executable, str(Path(__file__).parent / "boto3_pool.py")]
        return Result(run_or_fail(command, folder, environment(source, destination), folder / "log"))


class Ours:
    """`s3migrate plan`, then `s3migrate apply`, with the embedded ledger in the working folder.

    The ledger is started before apply and its start timed apart, as a run's second apply finds it.
    """

    def __init__(
        self, name: str = "s3migrate", *, flags: Sequence[str] = (), limits: dict[str, object] | None = None
    ) -> None:
        self.name = name
        self._flags = tuple(flags)
        self._limits = limits or {}

    def run(self, source: S3Server, destination: S3Server, folder: Path) -> Result:
        """See Contestant."""
        words = environment(source, destination) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
        ledger = EmbeddedLedger(folder / ".s3migrate")
        try:
            plan = self._plan(source, destination, folder, words)
            started = run_or_fail([ours(), "ledger", "migrate"], folder, words, folder / "ledger.log")
            before = ledger.cpu()
            command = [ours(), "apply", str(folder / "bench.plan.yaml"), *self._flags]
            applied = run_or_fail(command, folder, words, folder / "apply.log")
            return Result(applied, plan, ledger.cpu() - before, started.wall)
        finally:
            ledger.stop()

    def _plan(self, source: S3Server, destination: S3Server, folder: Path, words: dict[str, str]) -> Measured:
        """The plan; losses that the destination has by nature are accepted by name and planned again."""
        accepted: list[str] = []
        for _ in range(2):
            written = declaration(source, destination, self._limits, accepted)
            (folder / "migration.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
            command = [ours(), "plan", "migration.yaml", "-o", "bench.plan.yaml"]
            measured = run(command, folder, words, folder / "plan.log")
            if measured.exit_code not in (0, 2):
                raise CommandFailed(f"plan exited {measured.exit_code}:\n{(folder / 'plan.log').read_text()[-3000:]}")
            losses = losses_of(folder / "bench.plan.yaml")
            if set(losses) <= set(accepted):
                return measured
            accepted = losses
        return measured


def ours() -> str:
    """The installed command, beside this Python."""
    beside = Path(sys.executable).parent / "s3migrate"
    return str(beside) if beside.exists() else str(shutil.which("s3migrate"))


def declaration(
    source: S3Server, destination: S3Server, limits: dict[str, object], accept_loss: Sequence[str]
) -> dict[str, object]:
    """A migration.yaml of BUCKET between two servers."""

    def side(server: S3Server, prefix: str) -> dict[str, object]:
        where = {"bucket": BUCKET, "endpoint_url": server.endpoint_url, "region": server.region}
        return where | {"addressing": "path", "credentials": {"env": prefix}}

    written: dict[str, object] = {"apiVersion": "s3migrate/v1", "kind": "Migration", "name": "bench"}
    written |= {"source": side(source, "OLD"), "destination": side(destination, "NEW")}
    if limits:
        written["limits"] = limits
    if accept_loss:
        written["accept_loss"] = list(accept_loss)
    return written


def losses_of(plan: Path) -> list[str]:
    """Ids of all losses a plan names, wherever in it they stand."""
    found: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                if name == "losses" and isinstance(value, list):
                    found.extend(str(loss["id"]) for loss in value)
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(yaml.safe_load(plan.read_text()))
    return sorted(set(found))


RCLONE_BEST = Rclone("rclone best", ("--transfers", "32", "--checkers", "32", "--s3-no-head"))
RCLONE_DEFAULT = Rclone("rclone default", ())
CONTESTANTS: tuple[Contestant, ...] = (Ours(), RCLONE_BEST, RCLONE_DEFAULT, Boto3Pool())
