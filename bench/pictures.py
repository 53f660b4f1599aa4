"""Pictures for docs/: one real run with 503s and a kill -9 in it, as people see it.

    python -m bench.pictures [OBJECTS] [FOLDER]      100,000 and docs/pictures unless said otherwise

Two `rclone serve s3` on the RAM disk, each behind a proxy, the destination's with faults. Planned, applied, killed
half-way, applied again, verified; on the way Chromium draws the pull request's text, the live page and the final
report. Then the report's figures are compared with SQL and with what the proxies counted; exit 1 if one differs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markdown_it import MarkdownIt
from support.chromium import Chromium, Look
from support.fault_process import FaultProxyProcess
from support.fault_rules import Rule, slow_down
from support.servers import RcloneServer, S3Server

from bench import ROOT
from bench.beds import Ends
from bench.contestants import environment
from bench.measure import EmbeddedLedger
from bench.report_check import HEADINGS, Row, Seen, compared
from bench.workloads import BUCKET, KB, Group, Workload
from schema.errors import WhichSide

THROTTLED_SHARE = 0.003
KILL_AT = 0.45
"""Share of the objects after which the first apply is killed."""
DRAW_AT = 0.5
"""Share after which the live page is drawn: the processes of the second apply are at work."""
WIDTH = 1280
LOOKS = Path(tempfile.gettempdir()) / "s3migrate-looks"
"""Further pictures: to be looked at, not kept."""
COMMENT = """<!doctype html><meta charset="utf-8"><title>Pull request</title><style>
body{font:16px/1.5 sans-serif;max-width:62rem;margin:2rem auto;padding:1rem 2rem;border:1px solid #ccc}
table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3rem .7rem}code{background:#eee;padding:0 .2rem}
pre{background:#f4f4f4;padding:.7rem;overflow:auto}pre code{background:none}</style>"""


class Proxied(S3Server):
    """A server as clients see it: through the proxy."""

    def __init__(self, near: S3Server, endpoint_url: str) -> None:
        super().__init__()
        self.endpoint_url = endpoint_url
        self.access_key, self.secret_key = near.access_key, near.secret_key


class Bed(NamedTuple):
    """Where the run takes place."""

    ends: Ends
    destination: S3Server
    """Without its proxy."""
    proxies: Mapping[WhichSide, FaultProxyProcess]

    def asked(self) -> dict[WhichSide, int]:
        """How many requests came to each side so far."""
        return {side: len(proxy.history()) for side, proxy in self.proxies.items()}


class Operator:
    """Types commands in a folder of its own."""

    def __init__(self, folder: Path, ends: Ends) -> None:
        self.folder = folder
        self._environment = environment(ends) | {"PYTHONPATH": str(ROOT), "S3MIGRATE_HOME": str(folder / "home")}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """In the background, with stdout to be read."""
        command = [sys.executable, "-m", "s3migrate", *words]
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def run(self, *words: str) -> str:
        """Its stdout. Raises SystemExit for any exit code but 0."""
        print(f"$ s3migrate {' '.join(words)}", flush=True)
        process = self.start(*words)
        said = process.communicate()[0]
        if process.returncode:
            log = (self.folder / "log").read_text()[-1500:]
            raise SystemExit(f"exit code {process.returncode}: {said[-500:]}\n{log}")
        return said


def looked_at(browser: Chromium, page: str, to: Path, *, height: int) -> None:
    """The picture that docs/ shows, and beside it in LOOKS how a telephone and a dark screen show the page."""
    with browser.page(page, Look(WIDTH)) as shown:
        shown.picture(to, height=height)
    for look in (Look(390), Look(390, dark=True), Look(WIDTH, dark=True)):
        with browser.page(page, look) as shown:
            LOOKS.mkdir(exist_ok=True)
            shown.picture(LOOKS / f"{to.stem}-{look.width}-{'dark' if look.dark else 'light'}.png")


@contextmanager
def bed(work: Workload) -> Iterator[Bed]:
    """Both ends, and the proxies before them."""
    with ExitStack() as stack:
        source: S3Server = stack.enter_context(RcloneServer(directory_cache="1s"))
        if not isinstance(source, RcloneServer):
            raise TypeError("made above")
        work.make(source.folder)
        time.sleep(1.1)  # what the server has seen of its folder is a second old at most
        near: S3Server = stack.enter_context(RcloneServer())
        near.create_bucket(BUCKET)
        client = near.client()
        for number in range(40):
            client.put_object(Bucket=BUCKET, Key=f"withdrawn/{number:03d}.bin", Body=b"nobody has this any more")
        for number in range(25):
            client.put_object(Bucket=BUCKET, Key=f"g0/000/{number:06d}.bin", Body=b"an older state")
        before_source = stack.enter_context(FaultProxyProcess(source.endpoint_url))
        before_destination = stack.enter_context(FaultProxyProcess(near.endpoint_url, seed=7))
        ends = Ends(Proxied(source, before_source.endpoint_url), Proxied(near, before_destination.endpoint_url), None)
        yield Bed(ends, near, {WhichSide.SOURCE: before_source, WhichSide.DESTINATION: before_destination})


def declared(ends: Ends) -> str:
    """migration.yaml."""
    sides = {
        side: {"bucket": BUCKET, "endpoint_url": server.endpoint_url, "credentials": {"env": keys}}
        for side, server, keys in (("source", ends.source, "OLD"), ("destination", ends.destination, "NEW"))
    }
    policy = {"delete_extraneous": "after-verify", "on_destination_newer": "overwrite"}
    written = {"apiVersion": "s3migrate/v1", "kind": "Migration", "name": "invoices", **sides, "policy": policy}
    return yaml.safe_dump(written | {"guards": {"max_overwrites": 50, "max_deletes": 50}}, sort_keys=False)


def killed(operator: Operator, plan: str) -> float:
    """Apply *plan* and kill it at KILL_AT; time.monotonic() of the kill."""
    process = operator.start("apply", plan, "--json")
    for line in process.stdout or ():
        told: dict[str, Any] = json.loads(line)
        if told["type"] == "progress" and told["done"] >= KILL_AT * told["objects"]:
            process.send_signal(signal.SIGKILL)
            at = time.monotonic()
            process.wait()
            print(f"  killed with {told['done']} of {told['objects']} done", flush=True)
            return at
    raise SystemExit(f"the run ended before it could be killed: {(operator.folder / 'log').read_text()[-1500:]}")


def resumed(operator: Operator, plan: str, browser: Chromium, to: Path) -> None:
    """Apply *plan* to its end, with the live page drawn in the middle of it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serving = operator.start("status", f"--serve={port}")
    try:
        applying = operator.start("apply", plan, "--json")
        drawn = False
        for line in applying.stdout or ():
            told = json.loads(line)
            if told["type"] == "progress" and not drawn and told["done"] >= DRAW_AT * told["objects"]:
                looked_at(browser, f"http://127.0.0.1:{port}/run/1", to / "live.png", height=1900)
                drawn = True
        if applying.wait():
            raise SystemExit(f"apply: exit code {applying.returncode}")
    finally:
        serving.terminate()
        serving.wait()


def story(work: Workload, folder: Path, to: Path) -> list[Row]:
    """The whole of it; the report's figures beside SQL's and the servers'."""
    with bed(work) as place, Chromium() as browser:
        operator = Operator(folder, place.ends)
        try:
            (folder / "migration.yaml").write_text(declared(place.ends))
            plan = "plans/invoices.plan.yaml"
            operator.run("plan", "migration.yaml")
            text = operator.run("show", plan, "--format", "md")
            (folder / "pull-request.md").write_text(text)
            rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
            (folder / "pull-request.html").write_text(COMMENT + rendered)
            looked_at(browser, (folder / "pull-request.html").as_uri(), to / "pull-request.png", height=1500)
            place.proxies[WhichSide.DESTINATION].set_rules(
                [Rule(slow_down(), operations=("put",), probability=THROTTLED_SHARE)]
            )
            before = place.asked()
            killed_at = killed(operator, plan)
            resumed_at = time.monotonic()
            resumed(operator, plan, browser, to)
            exchanges = {side: proxy.history()[before[side] :] for side, proxy in place.proxies.items()}
            seen = Seen(exchanges, killed_at, resumed_at)
            print(operator.run("verify", plan, "--level", "listing"), end="")
            operator.run("report", "-o", "report.html")
            operator.run("report", "-o", "report.json")
            looked_at(browser, (folder / "report.html").as_uri(), to / "report.png", height=2600)
            report = json.loads((folder / "report.json").read_text())
            return compared(report, operator.run("ledger", "url").strip(), place.destination, seen)
        finally:
            EmbeddedLedger(folder / "home").stop()


def main() -> int:
    """Draw, compare, take down."""
    objects = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    to = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "pictures"
    to.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="s3migrate-pictures-"))
    os.nice(5)
    try:
        rows = story(Workload(f"{objects:,} x 1 KB", (Group(objects, KB),)), folder, to.absolute())
    finally:
        if os.environ.get("KEEP"):
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(HEADINGS, *rows, sep="\n")
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
