"""Manifests: the per-object lines beside a plan, as files.

A manifest is canonical JSONL (manifest_lines.py), sorted by key in code-point order, which is UTF-8 byte order, S3's
listing order and PostgreSQL's COLLATE "C". Its name is the SHA-256 of the *uncompressed* bytes, because gzip's bytes
depend on the zlib that wrote them; it is kept as `<64 hex>.jsonl.gz`. Nothing read here is trusted: reading is bounded
in memory, and any deviation from what the writer produces raises ManifestCorrupt.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from operator import lt
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol, Self

from schema.errors import IntegrityRefused, LocalDiskError, ManifestCorrupt, ManifestMissing, descriptors_exhausted
from schema.files.manifest_lines import decode, encode, encode_run, follows
from schema.formats.durable_file import make_durable, stage, sync_folder
from schema.plan import Entry, Plan, Tally

MAX_LINE = 64 * 1024
"""Bytes. Two keys of 1,024 bytes, each byte escaped six-fold, with every other field, stay under 20 KiB."""
READ_BLOCK = 256 * 1024
_WRITE_BLOCK_LINES = 1024
_LEVEL = 1
"""gzip's level: a tenth larger than at level 6, in 0.4 of the time, which was the largest single cost of planning."""
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")


class ManifestStore(Protocol):
    """Where manifests are kept, by digest. `digest` is always 'sha256:' and 64 hex digits."""

    def publish(self, digest: str, staged: Path) -> None:
        """Keep the gzip file *staged* under *digest*: whole or not at all, durable when this returns.

        What is there already is not written again, unless it was damaged. *staged* may be moved away.
        """

    def open(self, digest: str) -> BinaryIO:
        """The gzip stream of *digest*. Raises ManifestMissing naming the digest and where it was looked for."""

    def has(self, digest: str) -> bool:
        """Whether *digest* is there."""


def publish_bytes(store: ManifestStore, digest: str, packed: bytes, *, staging_folder: Path) -> None:
    """Publish the gzip bytes *packed* by way of a file in *staging_folder*. Raises LocalDiskError."""
    try:
        staged = stage(staging_folder, packed)
    except OSError as error:
        raise LocalDiskError(f"cannot write in {staging_folder}: {error.strerror}") from error
    try:
        store.publish(digest, staged)
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)


class ManifestSummary(NamedTuple):
    """What a finished manifest holds; goes into the plan."""

    digest: str
    objects: int
    bytes: int
    first_key: str
    last_key: str
    """Both keys are '' for a manifest without lines."""


def digest_hex(digest: str) -> str:
    """The 64 hex digits of 'sha256:...'. Raises ManifestCorrupt for anything else: digests become file names."""
    found = _DIGEST.match(digest)
    if found is None:
        raise ManifestCorrupt(f"{digest[:100]!r} is not a manifest digest (sha256: and 64 hex digits); plan again")
    return found[1]


class ManifestFolder:
    """A ManifestStore in a local folder. Nothing outside *root* is read or written, and no link is followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, digest: str) -> Path:
        """The file *digest* is kept in."""
        return self.root / f"{digest_hex(digest)}.jsonl.gz"

    def publish(self, digest: str, staged: Path) -> None:
        """See ManifestStore. Raises LocalDiskError when the disk fails; nothing half-written stays under the name.

        A file with other content under the digest is replaced, so that planning again repairs a damaged manifest.
        """
        target = self.path_of(digest)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if self.has(digest) and filecmp.cmp(staged, target, shallow=False):
                return
            try:
                staged.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(staged, target)
            sync_folder(self.root)
        except OSError as error:
            raise LocalDiskError(
                f"cannot keep manifest {target}: {error.strerror}; free some space and run again"
            ) from error

    def _copy(self, staged: Path, target: Path) -> None:
        """The way across file systems: a copy under another name, then a rename."""
        handle, name = tempfile.mkstemp(prefix=".incoming-", dir=self.root)
        try:
            with os.fdopen(handle, "wb") as copy, staged.open("rb") as original:
                while block := original.read(READ_BLOCK):
                    copy.write(block)
                make_durable(copy)
            Path(name).replace(target)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def open(self, digest: str) -> BinaryIO:
        """See ManifestStore. ManifestCorrupt when a link or a folder stands in the file's place."""
        path = self.path_of(digest)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ManifestCorrupt(
                    f"{path} is a symbolic link; a manifest must be a plain file: plan again"
                ) from None
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise descriptors_exhausted(f"manifest {path} was not opened") from None
            raise ManifestMissing(
                f"manifest {digest} was looked for at {path}: {error.strerror}. Copy it there from where the plan was "
                "made (manifests are not in git), or plan again"
            ) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise ManifestCorrupt(f"{path} is not a plain file; plan again")
        return os.fdopen(handle, "rb")

    def has(self, digest: str) -> bool:
        """See ManifestStore."""
        path = self.path_of(digest)
        return path.is_file() and not path.is_symlink()


class ManifestWriter:
    """Writes one manifest into a temporary file and publishes it under its digest. Memory: about 1,024 lines.

    A context manager: leaving it without finish() leaves no file. The same entries give the same digest and, under
    one zlib, the same gzip bytes (no time and no name in the header).
    """

    def __init__(self, staging_folder: Path) -> None:
        self.objects = 0
        self.bytes = 0
        self._first: Entry | None = None
        self._last: Entry | None = None
        self._lines: list[bytes] = []
        self._hasher = hashlib.sha256()
        self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
        try:
            staging_folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".manifest-", suffix=".part", dir=staging_folder)
            os.fchmod(handle, 0o644)
        except OSError as error:
            raise LocalDiskError(f"cannot write a manifest in {staging_folder}: {error.strerror}") from error
        self._path = Path(name)
        self._file = os.fdopen(handle, "wb")

    @property
    def first_key(self) -> str:
        """The first key added, or ''."""
        return "" if self._first is None else self._first.key

    @property
    def last_key(self) -> str:
        """The key added last, or ''."""
        return "" if self._last is None else self._last.key

    def add(self, entry: Entry) -> None:
        """Append *entry*. ValueError when it may not stand after the one before: the caller's order is wrong."""
        last = self._last
        if last is None:
            self._first = entry
        elif entry[0] <= last[0] and not follows(last, entry):
            raise ValueError(f"{entry.key!r} was added after {last.key!r}; a manifest ascends by key")
        self._lines.append(encode(entry))
        self._last = entry
        self.objects += 1
        self.bytes += entry[1]
        if len(self._lines) >= _WRITE_BLOCK_LINES:
            self._write()

    def add_run(self, entries: Sequence[Entry]) -> None:
        """Append *entries*, as `add` does one by one; quick where they have most fields in common."""
        keys = [entry[0] for entry in entries]
        if self._last is None or self._last[0] >= keys[0] or not all(map(lt, keys, islice(keys, 1, None))):
            for entry in entries:
                self.add(entry)
            return
        self._lines.append(encode_run(entries))
        self._last = entries[-1]
        self.objects += len(entries)
        self.bytes += sum(entry[1] for entry in entries)
        self._write()

    def _write(self, *, last: bool = False) -> None:
        block = b"".join(self._lines)
        self._lines.clear()
        self._hasher.update(block)
        try:
            self._file.write(self._packer.compress(block))
            if last:
                self._file.write(self._packer.flush())
                make_durable(self._file)
                self._file.close()
        except OSError as error:
            self.discard()
            raise LocalDiskError(
                f"cannot write manifest {self._path}: {error.strerror}; free some space and plan again"
            ) from error

    def finish(self, store: ManifestStore) -> ManifestSummary:
        """Publish the entries added and return their summary. The writer cannot be used afterwards, even when this
        raises.
        """
        try:
            self._write(last=True)
            digest = "sha256:" + self._hasher.hexdigest()
            store.publish(digest, self._path)
        finally:
            self.discard()
        return ManifestSummary(digest, self.objects, self.bytes, self.first_key, self.last_key)

    def discard(self) -> None:
        """Discard everything added and remove the temporary file. May be called again, and after finish()."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def read_entries(
    store: ManifestStore, digest: str, *, lo: int = 0, hi: int | None = None
) -> Iterator[tuple[int, Entry]]:
    """(ord, entry) for lo <= ord < hi of the manifest *digest*, in order; hi None: to its end.

    Lines before *lo* are skipped undecoded. Fewer than *hi* lines, a cut or doctored gzip, an over-long or wrong
    line raise ManifestCorrupt naming the digest. The digest itself is verify_manifest's work.
    """
    if hi is not None and lo >= hi:
        return
    number = 0
    for line in read_lines(store, digest):
        if number >= lo:
            try:
                entry = decode(line, number + 1)
            except ManifestCorrupt as error:
                raise ManifestCorrupt(f"manifest {digest}: {error}") from None
            yield number, entry
        number += 1
        if number == hi:
            return
    if hi is not None:
        raise ManifestCorrupt(f"manifest {digest} ends after {number:,} lines; line {hi:,} was expected. Plan again")


def verify_manifest(
    store: ManifestStore,
    digest: str,
    *,
    objects: int,
    bytes: int,
    keys: tuple[str, str] | None,
) -> None:
    """Verify that the manifest *digest* holds exactly what a plan says about it.

    Checked: SHA-256 of the uncompressed bytes, number of lines, sum of sizes (*bytes*), order, and the first and
    last key (*keys*; None: not checked). Raises ManifestCorrupt naming the digest and what differs, ManifestMissing.
    Memory stays at some blocks of 256 KiB, and reading stops at the first line too many.
    """
    hasher = hashlib.sha256()
    count = total = 0
    first: str | None = None
    last: Entry | None = None
    for line in read_lines(store, digest):
        hasher.update(line)
        count += 1
        if count > objects:
            raise ManifestCorrupt(f"manifest {digest} has more lines than the {objects:,} the plan says; plan again")
        try:
            entry = decode(line, count)
        except ManifestCorrupt as error:
            raise ManifestCorrupt(f"manifest {digest}: {error}") from None
        if last is not None and entry[0] <= last[0] and not follows(last, entry):
            raise ManifestCorrupt(f"manifest {digest}: line {count} is out of order ({entry.key!r}); plan again")
        if first is None:
            first = entry[0]
        last = entry
        total += entry[1]
    found = "sha256:" + hasher.hexdigest()
    if found != digest:
        raise ManifestCorrupt(
            f"manifest {digest} holds other bytes: their digest is {found}. It was changed; plan again"
        )
    if count != objects:
        raise ManifestCorrupt(f"manifest {digest} has {count:,} lines, the plan says {objects:,}; plan again")
    if total != bytes:
        raise ManifestCorrupt(f"manifest {digest} sums to {total:,} bytes, the plan says {bytes:,}; plan again")
    if keys is not None and last is not None and (first, last.key) != keys:
        raise ManifestCorrupt(
            f"manifest {digest} goes from {first!r} to {last.key!r}, the plan says {keys[0]!r} to {keys[1]!r}; "
            "plan again"
        )


def manifest_complaints(plan: Plan, store: ManifestStore) -> Iterator[str]:
    """What is wrong with each manifest that *plan* names, see verify_manifest; nothing when all are whole."""
    named: list[tuple[str, str, Tally, tuple[str, str] | None]]
    named = [(b.id, b.manifest, Tally(b.objects, b.bytes), b.keys) for b in plan.batches]
    named += [
        (f"{section.id}/{name}", digest, section.summary[name], None)
        for section in plan.sections
        for name, digest in section.side_manifests.items()
    ]
    for place, digest, tally, keys in named:
        try:
            verify_manifest(store, digest, objects=tally.objects, bytes=tally.bytes, keys=keys)
        except IntegrityRefused as error:
            yield f"{place}: {error}"


def read_lines(store: ManifestStore, digest: str) -> Iterator[bytes]:
    """Each line with its LF. Bounded: one block of output and at most MAX_LINE of an unfinished line are held."""
    rest = b""
    for block in _blocks(store, digest):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if len(line) >= MAX_LINE:
                raise ManifestCorrupt(f"manifest {digest} has a line of more than {MAX_LINE:,} bytes; plan again")
            yield line + b"\n"
        if len(rest) >= MAX_LINE:
            raise ManifestCorrupt(f"manifest {digest} has a line of more than {MAX_LINE:,} bytes; plan again")
    if rest:
        raise ManifestCorrupt(
            f"manifest {digest} ends in the middle of a line; it was cut: fetch it again or plan again"
        )


def _blocks(store: ManifestStore, digest: str) -> Iterator[bytes]:
    """The uncompressed bytes in blocks of at most READ_BLOCK: one gzip member, whole, and nothing after it."""
    unpacker = zlib.decompressobj(wbits=31)
    with store.open(digest) as stream:
        try:
            while not unpacker.eof:
                packed = unpacker.unconsumed_tail or stream.read(READ_BLOCK)
                block = unpacker.decompress(packed, READ_BLOCK)
                if block:
                    yield block
                elif not packed:
                    raise ManifestCorrupt(f"manifest {digest} is cut short; fetch it again or plan again")
            extra = unpacker.unused_data or stream.read(1)
        except zlib.error as error:
            raise ManifestCorrupt(
                f"manifest {digest} is not the gzip file it should be ({error}); plan again"
            ) from None
        except OSError as error:
            raise ManifestCorrupt(f"manifest {digest} cannot be read: {error.strerror or error}") from error
    if extra:
        raise ManifestCorrupt(f"manifest {digest} has bytes after its end; fetch it again or plan again")
