"""An operator at the command line: a folder of their own, a declaration, and commands run in this process.

Commands run through the same entry as the console script (`s3migrate.failure.run_click`); what they print is
caught. `background` starts a real process instead, for signals and kills.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml

from s3migrate.cli import cli
from s3migrate.console.failure import run_click
from support.oracle import Bucket
from support.servers import ACCESS_KEY, REGION, SECRET_KEY, S3Server, scrubbed_environment

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ran(NamedTuple):
    """What one command did."""

    code: int
    out: str
    err: str

    def ok(self) -> Self:
        """Exit code 0, or the test fails with what the command said."""
        assert self.code == 0, self.err
        return self

    def lines(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The JSON objects of stdout, of one type when given."""
        found = [json.loads(line) for line in self.out.splitlines()]
        return [line for line in found if kind is None or line["type"] == kind]


@contextlib.contextmanager
def signals_restored() -> Iterator[None]:
    """apply and verify take the process's signals; give them back."""
    before = {name: signal.getsignal(name) for name in SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


class Background(subprocess.Popen[str]):
    """A command's process. A test that fails kills it, instead of waiting for its end."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, trace)


@dataclass(slots=True)
class Operator:
    """One folder, one ledger, one migration between two buckets."""

    folder: Path
    ledger_url: str
    source: S3Server
    destination: S3Server
    source_bucket: str
    destination_bucket: str
    source_url: str = ""
    """Instead of the server's own: a proxy's."""
    destination_url: str = ""
    secret: str = SECRET_KEY
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the declaration."""

    @property
    def plan_path(self) -> Path:
        """Where `plan` writes."""
        return self.folder / "plans" / "photos.plan.yaml"

    @property
    def declaration_path(self) -> Path:
        """The declaration."""
        return self.folder / "migration.yaml"

    def environment(self) -> dict[str, str]:
        """What the commands see beside the test's own environment."""
        named = {}
        for side in ("OLD", "NEW"):
            named |= {f"{side}_AWS_ACCESS_KEY_ID": ACCESS_KEY, f"{side}_AWS_SECRET_ACCESS_KEY": self.secret}
        return {**named, "S3MIGRATE_LEDGER": self.ledger_url, "S3MIGRATE_HOME": str(self.folder / ".s3migrate")}

    def declare(self, **changes: Any) -> None:
        """Write the declaration; *changes* replace top-level keys, None leaves one out."""
        document: dict[str, Any] = {
            "apiVersion": "s3migrate/v1",
            "kind": "Migration",
            "name": "photos",
            "source": {
                "bucket": self.source_bucket,
                "endpoint_url": self.source_url or self.source.endpoint_url,
                "region": REGION,
                "credentials": {"env": "OLD"},
            },
            "destination": {
                "bucket": self.destination_bucket,
                "endpoint_url": self.destination_url or self.destination.endpoint_url,
                "region": REGION,
                "credentials": {"env": "NEW"},
            },
            # Both buckets may be on one server; the engine under test is the one that moves bytes.
            "policy": {"transfer": "stream"},
            **self.more,
        }
        for name, value in changes.items():
            if isinstance(value, Mapping) and isinstance(document.get(name), Mapping):
                document[name] = {**document[name], **value}
            else:
                document[name] = value
        kept = {name: value for name, value in document.items() if value is not None}
        self.declaration_path.write_text(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))

    def run(self, *words: str | Path) -> Ran:
        """One command in this process, in the operator's folder."""
        out, err = io.StringIO(), io.StringIO()
        saved, here = dict(os.environ), Path.cwd()
        os.environ.update(self.environment())
        os.chdir(self.folder)
        try:
            with signals_restored(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run_click(cli, [str(word) for word in words])
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(saved)
        return Ran(code, out.getvalue(), err.getvalue())

    def plan(self, *options: str) -> Ran:
        """Declare (when that was not done) and plan."""
        if not self.declaration_path.exists():
            self.declare()
        return self.run("plan", "migration.yaml", *options)

    def apply(self, *options: str) -> Ran:
        """Apply the plan."""
        return self.run("apply", self.plan_path, *options)

    def verify(self, *options: str) -> Ran:
        """Verify the plan."""
        return self.run("verify", self.plan_path, *options)

    def background(
        self, *words: str | Path, more: Mapping[str, str] | None = None, through: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """The same command as a process of its own, *more* in its environment; stdin is empty, the others are pipes.

        *through*: a program that is given the command as its arguments, and becomes it.
        """
        return Background(
            [*through, sys.executable, "-m", "s3migrate", *map(str, words)],
            cwd=self.folder,
            env=scrubbed_environment() | self.environment() | {"PYTHONPATH": str(ROOT)} | dict(more or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def source_side(self) -> Bucket:
        """For the oracle."""
        return Bucket(self.source.client(), self.source_bucket)

    @property
    def destination_side(self) -> Bucket:
        """For the oracle."""
        return Bucket(self.destination.client(), self.destination_bucket)

    def summary(self) -> dict[str, Any]:
        """The first section's summary, as written in the plan."""
        document = yaml.safe_load(self.plan_path.read_text())
        found: dict[str, Any] = document["sections"][0]["summary"]
        return found

    def uploads(self) -> list[str]:
        """Open multipart uploads at the destination."""
        answer = self.destination.client().list_multipart_uploads(Bucket=self.destination_bucket)
        return [upload["UploadId"] for upload in answer.get("Uploads", ())]


def moved(operator: Operator, *, again: bool = True, levels: Sequence[str] = ("content",)) -> None:
    """Plan, apply, verify at each of *levels*, and plan again: nothing is left. Not *again*: the applied plan stays."""
    operator.plan().ok()
    applied = operator.apply()
    assert applied.code == 0, applied.err + operator.run("status").out
    for level in levels:
        verified = operator.verify("--level", level)
        assert verified.code == 0, verified.err + verified.out
    if again:
        operator.plan("--detailed-exitcode").ok()


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below: its modification time and bytes; for "nothing was rewritten"."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def edited(path: Path, change: Callable[[str], str]) -> None:
    """Change a text file; it must change."""
    before = path.read_text()
    after = change(before)
    assert after != before
    path.write_text(after)


def plan_id_of(path: Path) -> str:
    """The plan's id, by eye."""
    found = re.search(r"sha256:[0-9a-f]{64}", path.read_text())
    assert found is not None
    return found.group()
