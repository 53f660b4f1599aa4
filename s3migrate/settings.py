"""Settings from the environment, read once. os.environ is touched here and in storage/credentials.py only."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schema.declaration import Side
from schema.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says."""

    ledger_url: str | None
    """S3MIGRATE_LEDGER; None: the embedded PostgreSQL under `state_folder`."""
    state_folder: Path
    """S3MIGRATE_HOME, else .s3migrate in the working directory."""
    ledger_idle_seconds: float
    """S3MIGRATE_LEDGER_IDLE: how long the embedded server runs unused; 0: until `ledger stop`."""
    expected_plan_id: str | None
    """S3MIGRATE_EXPECT: the plan id that was approved."""
    plan_bucket: Side
    """How plans at s3://BUCKET/KEY are reached; its bucket is empty. S3MIGRATE_PLAN_ENDPOINT (default: AWS),
    S3MIGRATE_PLAN_REGION, and S3MIGRATE_PLAN_CREDENTIALS, the PREFIX of PREFIX_AWS_ACCESS_KEY_ID and so on (default:
    botocore's chain)."""
    restore_poll_seconds: float
    """S3MIGRATE_RESTORE_POLL: seconds between two HEADs of an object that is being restored from an archive."""
    serve_token: str | None
    """S3MIGRATE_SERVE_TOKEN: what `status --serve` demands beyond loopback; None: it makes one up."""
    who: str
    """user@host, for the ledger."""
    host: str
    stderr_is_terminal: bool


def _seconds(env: Mapping[str, str], name: str, default: float, *, or_none: bool = False) -> float:
    """*or_none*: 0 is allowed and means no limit."""
    said = env.get(name)
    if not said:
        return default
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < 1e6 or (seconds == 0.0 and not or_none):
        raise UsageError(f"{name} is {said!r}; set it to {'0 or more' if or_none else 'more than 0'} seconds")
    return seconds


def _plan_bucket(env: Mapping[str, str]) -> Side:
    prefix = env.get("S3MIGRATE_PLAN_CREDENTIALS")
    return Side(
        "",
        endpoint_url=env.get("S3MIGRATE_PLAN_ENDPOINT") or None,
        region=env.get("S3MIGRATE_PLAN_REGION") or env.get("AWS_REGION") or "us-east-1",
        credentials={"env": prefix} if prefix else {},
    )


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from *environ* (default: the process's own)."""
    env = os.environ if environ is None else environ
    host = socket.gethostname()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a numeric uid in a container may have no name
        user = str(os.getuid())
    return Settings(
        ledger_url=env.get("S3MIGRATE_LEDGER") or None,
        state_folder=Path(env.get("S3MIGRATE_HOME") or ".s3migrate").absolute(),
        ledger_idle_seconds=_seconds(env, "S3MIGRATE_LEDGER_IDLE", 300.0, or_none=True),
        expected_plan_id=env.get("S3MIGRATE_EXPECT") or None,
        plan_bucket=_plan_bucket(env),
        restore_poll_seconds=_seconds(env, "S3MIGRATE_RESTORE_POLL", 900.0),
        serve_token=env.get("S3MIGRATE_SERVE_TOKEN") or None,
        who=f"{user}@{host}",
        host=host,
        stderr_is_terminal=sys.stderr.isatty(),
    )
