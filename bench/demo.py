"""make demo: a bucket moves between two real S3 servers, is killed half-way, goes on, and is proven.

Everything is made anew in a temporary folder and taken down again: two S3 servers (moto), the embedded PostgreSQL
that keeps the ledger, and about 2,000 objects from 0 B to 40 MiB with metadata and tags.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.corpus import CorpusObject  # noqa: E402
from support.oracle import Bucket, compare, fill  # noqa: E402
from support.servers import MotoServer, S3Server  # noqa: E402

OBJECTS = 2000
MIB = 1024 * 1024
KILL_AT = 0.4
"""Share of the objects after which the first apply is killed."""

DECLARATION = """\
apiVersion: s3migrate/v1
kind: Migration
name: demo
source:      {{bucket: holiday-photos, endpoint_url: "{old}", credentials: {{env: OLD}}}}
destination: {{bucket: archive, prefix: "photos/", endpoint_url: "{new}", credentials: {{env: NEW}}}}
limits:      {{memory: 256MiB}}
"""


def say(text: str) -> None:
    """A line of the story."""
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def corpus() -> Iterator[CorpusObject]:
    """Small ones by the thousand, some large ones, keys that trip over other tools."""
    chance = random.Random(2026)
    odd = ("a//b", "a b+c", "100%25 sure", "caf\u00e9", "cafe\u0301", "yes", "tab\there", "./dot", "slash/")
    sizes = [0, 1, 40 * MIB, 33 * MIB, 17 * MIB] + [5 * MIB] * 3
    for number in range(OBJECTS):
        size = sizes[number] if number < len(sizes) else int(chance.paretovariate(0.9) * 500) % (200 * 1024)
        key = odd[number] if number < len(odd) else f"{2000 + number % 25}/{number % 12 + 1:02}/IMG_{number:05}.jpg"
        yield CorpusObject(
            key=key,
            size=size,
            seed=number,
            headers={"ContentType": "image/jpeg", "CacheControl": "max-age=3600"},
            metadata={"camera": f"model-{number % 7}", "title": f"holiday {number}"},
            tags={"album": f"album-{number % 9}", "kept": "yes"} if number % 4 == 0 else {},
        )


class Operator:
    """Types commands and reads exit codes."""

    def __init__(self, folder: Path, old: S3Server, new: S3Server) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "OLD_AWS_ACCESS_KEY_ID": old.access_key,
            "OLD_AWS_SECRET_ACCESS_KEY": old.secret_key,
            "NEW_AWS_ACCESS_KEY_ID": new.access_key,
            "NEW_AWS_SECRET_ACCESS_KEY": new.secret_key,
            "PYTHONPATH": str(ROOT),
        }
        for name in ("S3MIGRATE_LEDGER", "S3MIGRATE_HOME", "S3MIGRATE_EXPECT"):
            self.environment.pop(name, None)

    def command(self, *words: str) -> list[str]:
        """The command line, shown as typed."""
        print(f"$ s3migrate {' '.join(words)}", flush=True)
        return [sys.executable, "-m", "s3migrate", *words]

    def run(self, *words: str, expect: int = 0) -> None:
        """Run it; any other exit code than *expect* ends the demo."""
        done = subprocess.run(self.command(*words), cwd=self.folder, env=self.environment, check=False)
        if done.returncode != expect:
            raise SystemExit(f"demo: exit code {done.returncode}, expected {expect}")

    def run_and_kill(self, *words: str) -> None:
        """Run it and kill -9 it once KILL_AT of the objects are done."""
        process = subprocess.Popen(
            self.command(*words, "--json"),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if process.stdout is None:
            raise AssertionError("stdout was asked for")
        for line in process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["type"] == "progress":
                print(f"  {message['done']} of {message['objects']} objects done", flush=True)
                if message["done"] >= KILL_AT * message["objects"]:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    print(f"  killed with SIGKILL (exit code {process.returncode})", flush=True)
                    return
        process.wait()
        raise SystemExit("demo: the run ended before it could be killed")


def story(folder: Path, old: S3Server, new: S3Server) -> None:
    """The whole demo; raises SystemExit when anything is not as it should be."""
    operator = Operator(folder, old, new)
    say(f"Two S3 servers are running: {old.endpoint_url} (old) and {new.endpoint_url} (new).")
    old.create_bucket("holiday-photos")
    new.create_bucket("archive")
    count = fill(old.client(), "holiday-photos", corpus())
    print(f"Wrote {count} objects with headers, metadata and tags into the old bucket.")

    say("The declaration: what is wanted, edited by a person.")
    text = DECLARATION.format(old=old.endpoint_url, new=new.endpoint_url)
    (folder / "migration.yaml").write_text(text, encoding="utf-8")
    print(text)

    say("plan: both sides are probed and listed, nothing is copied. The plan is a file to be reviewed.")
    operator.run("plan", "migration.yaml")
    operator.run("check", "plans/demo.plan.yaml")

    say("apply: exactly that plan, every object checkpointed in PostgreSQL. We kill it in the middle.")
    operator.run_and_kill("apply", "plans/demo.plan.yaml")
    operator.run("status")

    say("apply again: it goes on where it was. Nothing that was checkpointed is copied twice.")
    operator.run("apply", "plans/demo.plan.yaml")

    say("verify: both sides are read and hashed; headers, metadata and tags are compared; every key is accounted for.")
    operator.run("verify", "plans/demo.plan.yaml", "--level", "content")

    say("An oracle that shares no code with s3migrate compares the buckets once more.")
    differences = compare(Bucket(old.client(), "holiday-photos"), Bucket(new.client(), "archive", "photos/"))
    if differences:
        raise SystemExit(f"demo: the oracle found {len(differences)} differences, the first: {differences[0]}")
    print("No difference.")

    say("plan again: nothing to do.")
    operator.run("plan", "migration.yaml", "--detailed-exitcode")


def main() -> int:
    """Set up, tell the story, take down."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="s3migrate-demo-"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        with MotoServer() as old, MotoServer() as new:
            try:
                story(folder, old, new)
            finally:
                stop = [sys.executable, "-m", "s3migrate", "ledger", "stop"]
                subprocess.run(stop, cwd=folder, env=environment, check=False, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"Done in {time.monotonic() - started:.0f} s; nothing is left running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
