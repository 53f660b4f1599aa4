"""Who runs: how each contestant is started between two ends, and what is measured of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import yaml
from support.servers import S3Server, rclone_binary, scrubbed_environment

from bench.beds import Ends
from bench.measure import CommandFailed, EmbeddedLedger, Measured, run, run_or_fail

BEST_FLAGS = ("--transfers", "32", "--checkers", "32", "--s3-no-head")
FAR_FLAGS = ("--transfers", "256", "--checkers", "256", "--s3-no-head")


class Result(NamedTuple):
    """One run of one contestant."""

    measured: Measured
    server_cpu: float = 0.0
    """CPU seconds of both servers meanwhile."""
    plan: Measured | None = None
    """Ours only: the plan, timed apart; the others list while they copy."""
    ledger_cpu: float = 0.0
    """Ours only: CPU seconds of the embedded PostgreSQL during apply."""
    ledger_start: float = 0.0
    """Ours only: seconds to create and start the embedded PostgreSQL, once per working folder."""


class Contestant(Protocol):
    """A way of copying a bucket."""

    @property
    def name(self) -> str:
        """As the table calls it."""
        ...

    def run(self, ends: Ends, folder: Path) -> Result:
        """Copy everything; *folder* is an empty one to work in. Raises CommandFailed."""
        ...


def environment(ends: Ends) -> dict[str, str]:
    """Every contestant's endpoints and keys, in its own words."""
    words = {"SOURCE_URL": ends.source.endpoint_url, "DESTINATION_URL": ends.destination.endpoint_url}
    words |= {"BUCKET": ends.source_bucket, "AWS_DEFAULT_REGION": ends.source.region}
    words |= {"AWS_ACCESS_KEY_ID": ends.source.access_key, "AWS_SECRET_ACCESS_KEY": ends.source.secret_key}
    if ends.certificate is not None:
        words |= dict.fromkeys(("AWS_CA_BUNDLE", "RCLONE_CA_CERT", "SSL_CERT_FILE"), str(ends.certificate))
    for ours, theirs, server in (("OLD", "SRC", ends.source), ("NEW", "DST", ends.destination)):
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


def measured_between(ends: Ends, command: Sequence[str], folder: Path) -> Result:
    """Run *command* with the servers' CPU beside it. Raises CommandFailed."""
    before = ends.cpu()
    measured = run_or_fail(command, folder, environment(ends), folder / "log")
    return Result(measured, ends.cpu() - before)


class Rclone:
    """`rclone copy` with some flags."""

    def __init__(self, name: str, flags: Sequence[str]) -> None:
        self.name = name
        self._flags = tuple(flags)

    def run(self, ends: Ends, folder: Path) -> Result:
        """See Contestant."""
        inside = ends.source is ends.destination
        ways = f"src:{ends.source_bucket}", f"{'src' if inside else 'dst'}:{ends.destination_bucket}"
        command = [rclone_binary(), "copy", *ways, "--config", "", *self._flags]
        return measured_between(ends, command, folder)


class S5cmd:
    """`s5cmd cp` inside one endpoint: it knows one endpoint at a time, so it copies there or not at all."""

    name = "s5cmd"

    def run(self, ends: Ends, folder: Path) -> Result:
        """See Contestant."""
        binary = Path(sys.executable).parent / "s5cmd"
        where = ["--endpoint-url", ends.source.endpoint_url, "--numworkers", "64"]
        ways = [f"s3://{ends.source_bucket}/*", f"s3://{ends.destination_bucket}/"]
        return measured_between(ends, [str(binary), *where, "cp", *ways], folder)


class Boto3Pool:
    """bench/boto3_pool.py."""

    name = "boto3"

    def run(self, ends: Ends, folder: Path) -> Result:
        """See Contestant."""
        return measured_between(ends, [sys.executable, str(Path(__file__).parent / "boto3_pool.py")], folder)


class BareWire:
    """bench/bare_wire.py: our wire without plan, ledger and proof: the floor of what `apply` can cost."""

    name = "bare wire"

    def run(self, ends: Ends, folder: Path) -> Result:
        """See Contestant."""
        return measured_between(ends, [sys.executable, str(Path(__file__).parent / "bare_wire.py")], folder)


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

    def run(self, ends: Ends, folder: Path) -> Result:
        """See Contestant."""
        words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
        ledger = EmbeddedLedger(folder / ".s3migrate")
        try:
            plan = self._plan(ends, folder, words)
            started = run_or_fail([ours(), "ledger", "migrate"], folder, words, folder / "ledger.log")
            before, served = ledger.cpu(), ends.cpu()
            command = [ours(), "apply", str(folder / "bench.plan.yaml"), *self._flags]
            applied = run_or_fail(command, folder, words, folder / "apply.log")
            return Result(applied, ends.cpu() - served, plan, ledger.cpu() - before, started.wall)
        finally:
            ledger.stop()

    def _plan(self, ends: Ends, folder: Path, words: dict[str, str]) -> Measured:
        """The plan; losses that the destination has by nature are accepted by name and planned again."""
        accepted: list[str] = []
        for _ in range(2):
            written = declaration(ends, self._limits, accepted)
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


def declaration(ends: Ends, limits: dict[str, object], accept_loss: Sequence[str]) -> dict[str, object]:
    """A migration.yaml between two ends."""

    def side(server: S3Server, bucket: str, prefix: str) -> dict[str, object]:
        where: dict[str, object] = {"bucket": bucket, "endpoint_url": server.endpoint_url, "region": server.region}
        if ends.certificate is not None:
            where["tls"] = {"ca_bundle": str(ends.certificate)}
        return where | {"addressing": "path", "credentials": {"env": prefix}}

    written: dict[str, object] = {"apiVersion": "s3migrate/v1", "kind": "Migration", "name": "bench"}
    inside = ends.source is ends.destination
    written["source"] = side(ends.source, ends.source_bucket, "OLD")
    written["destination"] = side(ends.destination, ends.destination_bucket, "OLD" if inside else "NEW")
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


OURS = Ours()
RCLONE_BEST = Rclone("rclone best", BEST_FLAGS)
RCLONE_FAR = Rclone("rclone 256", FAR_FLAGS)
RCLONE_DEFAULT = Rclone("rclone default", ())
BOTO3 = Boto3Pool()
S5CMD = S5cmd()
BARE_WIRE = BareWire()
