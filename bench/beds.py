"""The servers a contestant copies between: two lean in-memory servers or two `rclone serve s3`, over http or https.

The lean server is built from its C source where that is at hand (LEAN_S3, or shared/tools/lean-s3 beside the checkout)
and a compiler is there: then the client is what is measured. Without it the rclone beds remain.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from support.certificates import self_signed
from support.servers import RcloneServer, S3Server, ServerFailed, temporary_folder

from bench import ROOT
from bench.measure import cpu_of
from bench.workloads import BUCKET, COPY, Workload
from storage.open_store import certificate_authorities

READY_SECONDS = 60.0
SOURCE = Path(os.environ.get("LEAN_S3") or ROOT.parent / "shared" / "tools" / "lean-s3")


class Kind(StrEnum):
    """Which servers."""

    LEAN = "lean"
    RCLONE = "rclone"
    INSIDE = "inside"
    """Two buckets of one rclone server: copies need not pass through the client."""


class Place(NamedTuple):
    """Which bed a case is measured on."""

    kind: Kind
    https: bool
    delay_ms: int = 0
    """Added to each request, on both sides."""
    checksums: bool = False
    """The lean servers enforce and answer CRCs, as AWS does."""

    def __str__(self) -> str:
        words = [self.kind.value, "https" if self.https else "http"]
        words += [f"{self.delay_ms} ms"] if self.delay_ms else []
        return ", ".join([*words, "CRC"] if self.checksums else words)


class Ends(NamedTuple):
    """Where a contestant copies from and to."""

    source: S3Server
    destination: S3Server
    certificate: Path | None
    """What contestants trust over https: as many authorities as people have, for some read them at each connection."""
    source_bucket: str = BUCKET
    destination_bucket: str = BUCKET

    def arrived(self) -> tuple[int, int]:
        """Objects and bytes at the destination."""
        pages = self.destination.client().get_paginator("list_objects_v2").paginate(Bucket=self.destination_bucket)
        sizes = [entry["Size"] for page in pages for entry in page.get("Contents", ())]
        return len(sizes), sum(sizes)

    def cpu(self) -> float:
        """CPU seconds the servers have used so far."""
        return sum(cpu_of(pid) for pid in {self.source.pid, self.destination.pid})


@cache
def lean_binary() -> str | None:
    """The lean server, built once per process; None: no source or no compiler here."""
    if not (SOURCE / "lean-s3.c").is_file() or shutil.which("gcc") is None:
        return None
    built = Path(tempfile.gettempdir()) / f"s3migrate-bench-lean-s3-{os.getuid()}"
    made = subprocess.run(["sh", str(SOURCE / "build.sh"), str(built)], capture_output=True, text=True, check=False)
    return str(built) if made.returncode == 0 and built.exists() else None


def possible(place: Place) -> bool:
    """Whether this machine can make the bed."""
    return place.kind is not Kind.LEAN or lean_binary() is not None


class LeanServer(S3Server):
    """The lean server with *options*."""

    kind = "lean"

    def __init__(self, options: list[str], tls: tuple[Path, Path] | None) -> None:
        super().__init__(tls)
        self._options = options
        self._port = 0

    def _command(self) -> list[str]:
        binary = lean_binary()
        if binary is None:
            raise ServerFailed("the lean server cannot be built here")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        tls = [] if self.tls is None else ["--cert", str(self.tls[0]), "--key", str(self.tls[1])]
        return [binary, "--port", str(self._port), "--trust-md5", *tls, *self._options]

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + READY_SECONDS
        while "ready" not in self.log.read_text(errors="replace"):
            if time.monotonic() > deadline or self._ended():
                raise ServerFailed(f"the lean server did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self._port}"

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def requests(self) -> dict[str, float]:
        """Requests by method so far, as the server counted them."""
        context = None if self.tls is None else ssl.create_default_context(cafile=str(self.tls[0]))
        with urllib.request.urlopen(f"{self.endpoint_url}/?stats", context=context) as answer:  # noqa: S310 - ours
            found: dict[str, float] = json.load(answer)
        return found


class FarServer(S3Server):
    """A server behind bench.delay_server."""

    kind = "delay"

    def __init__(
        self,
        near: S3Server,
        delay: float,
        *,
        bytes_per_second: float = float("inf"),
        listen: str = "127.0.0.1:0",
    ) -> None:
        super().__init__(near.tls)
        self._listen = listen
        self._rate = bytes_per_second
        self._near = near
        self._delay = delay

    def _command(self) -> list[str]:
        program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bench.delay_server as s; s.main()"
        options = ["--upstream", self._near.endpoint_url, "--delay", str(self._delay)]
        options += ["--bytes-per-second", str(self._rate), "--listen", self._listen]
        return [sys.executable, "-c", program, *options]

    def _wait_until_ready(self) -> str:
        address = super()._wait_until_ready()
        return address.replace("http://", "https://") if self.tls is not None else address


class CountedServer(S3Server):
    """A server behind bench.write_counter."""

    kind = "counter"

    def __init__(self, behind: S3Server) -> None:
        super().__init__(None)
        self._behind = behind

    def _command(self) -> list[str]:
        program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bench.write_counter as s; s.main()"
        return [sys.executable, "-c", program, "--upstream", self._behind.endpoint_url]

    def writes(self) -> dict[str, int]:
        """See bench.write_counter."""
        with urllib.request.urlopen(f"{self.endpoint_url}/?writes") as answer:  # noqa: S310 - ours
            found: dict[str, int] = json.load(answer)
        return found


def beside_the_usual(certificate: Path) -> Path:
    """A file of the usual authorities with *certificate* among them, in the same folder."""
    file = certificate.with_name("authorities.pem")
    file.write_bytes(Path(certificate_authorities(None)).read_bytes() + certificate.read_bytes())
    return file


class Beds:
    """Makes beds for one workload at one place; what can be kept between runs is kept until closed."""

    def __init__(self, place: Place, workload: Workload) -> None:
        self.place = place
        self._workload = workload
        self._stack = ExitStack()
        self._tls = self_signed(self._folder("s3migrate-bench-tls-")) if place.https else None
        self._authorities = None if self._tls is None else beside_the_usual(self._tls.file)
        self._data = None if place.kind is Kind.LEAN else self._made()

    def _folder(self, prefix: str, *, ram: bool = False) -> Path:
        folder = temporary_folder(prefix) if ram else Path(tempfile.mkdtemp(prefix=prefix))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _made(self) -> Path:
        data = self._folder("s3migrate-bench-source-", ram=True)
        if shutil.disk_usage(data).free < 2.2 * self._workload.bytes:
            raise ServerFailed(f"not enough room on {data} for {self._workload.name} twice")
        self._workload.make(data)
        return data

    @contextmanager
    def fresh(self) -> Iterator[Ends]:
        """Servers that nobody has used, and an empty destination."""
        with ExitStack() as stack:
            yield self._lean(stack) if self._data is None else self._rclone(stack, self._data)

    def _lean(self, stack: ExitStack) -> Ends:
        common = ["--checksums"] if self.place.checksums else []
        common += ["--delay-ms", str(self.place.delay_ms)] if self.place.delay_ms else []
        preload = [word for g in self._workload.groups for word in ("--preload", f"{g.objects}:{g.size}")]
        source = stack.enter_context(LeanServer([*common, *preload], self._tls))
        # Memory touched for the first time costs more than the PUT: the destination has touched its own before.
        reserve = ["--reserve", str(self._workload.bytes * 11 // 10 // (1 << 20) + 64)]
        destination = stack.enter_context(LeanServer([*common, "--bucket", BUCKET, *reserve], self._tls))
        return Ends(source, destination, self._authorities)

    def _rclone(self, stack: ExitStack, data: Path) -> Ends:
        source: S3Server = stack.enter_context(RcloneServer(data, tls=self._tls))
        if self.place.kind is Kind.INSIDE:
            shutil.rmtree(data / COPY, ignore_errors=True)
            source.create_bucket(COPY)
            return Ends(source, source, self._authorities, BUCKET, COPY)
        destination: S3Server = stack.enter_context(RcloneServer(tls=self._tls))
        destination.create_bucket(BUCKET)
        if self.place.delay_ms:
            delay = self.place.delay_ms / 1e3
            source = stack.enter_context(FarServer(source, delay))
            destination = stack.enter_context(FarServer(destination, delay))
        return Ends(source, destination, self._authorities)

    def close(self) -> None:
        """Remove what was made."""
        self._stack.close()
