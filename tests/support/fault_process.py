"""The fault proxy as a process of its own: its work does not share the client's interpreter lock.

with FaultProxyProcess(server.endpoint_url, seed=7) as proxy:
    proxy.set_rules([Rule(Delay(0.05))])
    ...  # use proxy.endpoint_url
    print(proxy.history()[-1])
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from support.fault_proxy import FaultProxy
from support.fault_relay import Exchange
from support.fault_rules import Rule
from support.servers import START_SECONDS, ServerFailed, spawn

_POLL_SECONDS = 0.02


def main() -> None:
    """Serve until killed. Prints the endpoint; rules are read from the control file whenever it changes.

    The control file holds {"rules": [Rule.to_json(), ...]}. Beside it appears NAME.seen with the version
    (st_mtime_ns) of the rules in force, and, with --history, one JSON line per exchange in that file.
    """
    options = _options().parse_args()
    credentials = tuple(options.credentials.split(",", 1)) if options.credentials else None
    with FaultProxy(options.upstream, seed=options.seed, port=options.port, credentials=credentials) as proxy:
        print(proxy.endpoint_url, flush=True)
        version, written = 0, 0
        while True:
            if options.control_file and (now := _version(options.control_file)) not in (0, version):
                document = json.loads(options.control_file.read_text())
                proxy.rules = [Rule.from_json(rule) for rule in document["rules"]]
                version = now
                _seen(options.control_file).write_text(str(version))
            if options.history and (fresh := proxy.history_from(written)):
                written += len(fresh)
                with options.history.open("a") as sink:
                    sink.writelines(json.dumps(exchange._asdict()) + "\n" for exchange in fresh)
            time.sleep(_POLL_SECONDS)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m support.fault_proxy", description=main.__doc__)
    parser.add_argument("--upstream", required=True, help="http://host:port of the S3 server")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--credentials", help="ACCESS,SECRET; for EnforceConditions")
    parser.add_argument("--control-file", type=Path)
    parser.add_argument("--history", type=Path)
    return parser


def _version(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _seen(control_file: Path) -> Path:
    return control_file.with_name(control_file.name + ".seen")


class FaultProxyProcess:
    """The proxy in a subprocess that dies with us. Faults are set by `set_rules`."""

    def __init__(
        self, upstream: str, *, seed: int = 0, port: int = 0, credentials: tuple[str, str] | None = None
    ) -> None:
        self.upstream = upstream
        self.endpoint_url = ""
        self._seed = seed
        self._port = port
        self._credentials = credentials

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="s3migrate-proxy-"))
        self._control = self._folder / "rules.json"
        command = [sys.executable, "-c", "from support.fault_process import main; main()"]
        command += ["--upstream", self.upstream, "--seed", str(self._seed), "--port", str(self._port)]
        command += ["--control-file", str(self._control), "--history", str(self._folder / "history")]
        if self._credentials:
            command += ["--credentials", ",".join(self._credentials)]
        tests = str(Path(__file__).parents[1])
        self._process = spawn(command, self._folder / "log", {"PYTHONPATH": tests})
        try:
            self.endpoint_url = self._wait_for(self._folder / "log", r"http://127\.0\.0\.1:\d+")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def set_rules(self, rules: Iterable[Rule]) -> None:
        """Put *rules* in force; returns once they are."""
        fresh = self._control.with_suffix(".new")
        fresh.write_text(json.dumps({"rules": [rule.to_json() for rule in rules]}))
        version = fresh.stat().st_mtime_ns
        fresh.rename(self._control)
        self._wait_for(_seen(self._control), rf"^{version}$")

    def history(self) -> list[Exchange]:
        """All exchanges that ended up to a moment ago."""
        path = self._folder / "history"
        if not path.exists():
            return []
        lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        rows = [json.loads(line) for line in lines]
        return [Exchange(**row | {"faults": tuple(row["faults"])}) for row in rows]

    def _wait_for(self, path: Path, pattern: str) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            said = path.read_text() if path.exists() else ""
            if found := re.search(pattern, said):
                return found.group()
            if self._process.poll() is not None:
                raise ServerFailed(f"the fault proxy ended: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)
        raise ServerFailed(f"the fault proxy did not answer within {START_SECONDS:.0f} s")

    def stop(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
