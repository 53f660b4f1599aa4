"""A certificate's files: written whole or not at all, read without trust, in constant memory."""

from __future__ import annotations

import base64
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from schema.errors import CertificateCorrupt, InputMissing, KeyUnknown, LocalDiskError, UsageError
from schema.files.certificate import (
    CHECKPOINT,
    LEAVES,
    NOT_CERTIFIED,
    Checkpoint,
    Inclusion,
    Leaf,
    NotCertified,
    checkpoint_of,
    leaf_of,
    line_of,
)
from schema.formats.durable_file import make_durable, sync_folder
from schema.formats.escape import one_line
from schema.formats.merkle import Accumulator, inclusion_path, root_from_path

MAX_LINE = 64 * 1024
"""Bytes: three keys of 1,024 bytes, each escaped six-fold, with every other field, stay under 32 KiB."""
_LEVEL = 1
_BLOCK_LINES = 1024


class CertificateFolder(AbstractContextManager["CertificateFolder"]):
    """Collects the trees of a certificate in a folder that gets its name when all is well.

    Raises UsageError when *path* exists, LocalDiskError when the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} is there already; name another folder with -o, or remove it")
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
            self._partial.chmod(0o755)
        except OSError as error:
            raise _disk(path, error) from error

    def tree(self, section: str) -> TreeWriter:
        """The writer of one section's tree."""
        return TreeWriter(self._partial / section)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            return
        try:
            self._partial.rename(self._path)
            sync_folder(self._path.parent)
        except OSError as refused:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise _disk(self._path, refused) from refused


class TreeWriter(AbstractContextManager["TreeWriter"]):
    """Writes leaves and what is not certified, and hashes both on the way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tree = Accumulator()
        self._others = Accumulator()
        try:
            folder.mkdir()
            self._leaves, self._rest = _Lines(folder / LEAVES), _Lines(folder / NOT_CERTIFIED)
        except OSError as error:
            raise _disk(folder, error) from error

    def add(self, record: Leaf | NotCertified) -> None:
        """Append *record*; leaves come ascending by key."""
        line = line_of(record)
        try:
            if isinstance(record, Leaf):
                self._tree.add(line)
                self._leaves.add(line)
            else:
                self._others.add(line)
                self._rest.add(line)
        except OSError as error:
            raise _disk(self._folder, error) from error

    def finish(self, origin: str, facts: Sequence[str]) -> Checkpoint:
        """The checkpoint over all leaves; *facts* are its own lines, followed by the size and root of the rest."""
        rest = f"not-certified {self._others.size} {base64.b64encode(self._others.root()).decode()}"
        return Checkpoint(origin, self._tree.size, self._tree.root(), (*facts, rest))

    def write_note(self, note: str, key: str | None = None) -> None:
        """Keep the checkpoint's *note*; *key*: the public key that its signature is checked with."""
        try:
            self._leaves.close()
            self._rest.close()
            for name, text in ((CHECKPOINT, note), (f"{CHECKPOINT}.pub", key)):
                if text is not None:
                    with (self._folder / name).open("wb") as file:
                        file.write(text.encode())
                        make_durable(file)
        except OSError as error:
            raise _disk(self._folder, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lines in (self._leaves, self._rest):
            lines.abandon()


class _Lines:
    """A gzip file of lines; equal lines give equal bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._packer = gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=self._file, mtime=0)
        self._held: list[bytes] = []

    def add(self, line: bytes) -> None:
        self._held.append(line)
        if len(self._held) >= _BLOCK_LINES:
            self._write()

    def _write(self) -> None:
        if self._held:
            self._packer.write(b"\n".join(self._held) + b"\n")
            self._held.clear()

    def close(self) -> None:
        self._write()
        self._packer.close()
        make_durable(self._file)
        self._file.close()

    def abandon(self) -> None:
        """Close the file, finished or not."""
        self._file.close()


def read_note(tree: Path) -> str:
    """The checkpoint's note of the *tree*, a section's folder. Raises InputMissing."""
    try:
        return (tree / CHECKPOINT).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputMissing(f"{tree / CHECKPOINT} cannot be read: {said}; name a certificate's folder") from None


def read_leaves(tree: Path) -> Iterator[bytes]:
    """Every leaf's line without LF. Raises CertificateCorrupt, InputMissing."""
    path = tree / LEAVES
    try:
        with gzip.open(path, "rb") as file:
            yield from _lines(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CertificateCorrupt(f"{path} is damaged ({error}); fetch it again or certify again") from None
    except OSError as error:
        raise InputMissing(f"{path} cannot be read: {error.strerror}; name a certificate's folder") from None


def _lines(path: Path, file: gzip.GzipFile) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE):
        if not line.endswith(b"\n"):
            raise CertificateCorrupt(f"{path} has a line that is cut or too long; fetch it again or certify again")
        yield line[:-1]


def inclusions(tree: Path, key: str) -> list[Inclusion]:
    """The proof of every leaf of *key* (with versions there may be several), against the tree's own checkpoint.

    Raises KeyUnknown, CertificateCorrupt when leaves and checkpoint do not fit, InputMissing.
    """
    checkpoint = checkpoint_of(read_note(tree))
    found: list[tuple[int, bytes]] = []
    accumulator = Accumulator()
    needle = line_of(NotCertified(key, "", "", "")).split(b',"source"')[0]
    for index, line in enumerate(read_leaves(tree)):
        accumulator.add(line)
        if line.startswith(needle) and leaf_of(line).key == key:
            found.append((index, line))
    if (accumulator.size, accumulator.root()) != (checkpoint.size, checkpoint.root):
        raise CertificateCorrupt(f"the leaves in {tree} are not those of its checkpoint; fetch them again")
    if not found:
        raise KeyUnknown(f"{one_line(key)} is no leaf of {tree}; {NOT_CERTIFIED} there says why, if it was planned")
    proofs = []
    for index, line in found:
        path = inclusion_path(read_leaves(tree), index, checkpoint.size)
        if root_from_path(line, index, checkpoint.size, path=path) != checkpoint.root:
            raise CertificateCorrupt(f"the leaves in {tree} changed while they were read; run again")
        proofs.append(Inclusion(line, index, path))
    return proofs


def _disk(path: Path, error: OSError) -> LocalDiskError:
    return LocalDiskError(f"the certificate cannot be written at {path}: {error.strerror}; free some space, run again")


def trees_of(certificate: Path) -> list[Path]:
    """The trees of a *certificate*: itself, when it is one section's folder, or those below. Raises InputMissing."""
    if (certificate / CHECKPOINT).is_file():
        return [certificate]
    trees = sorted(path.parent for path in certificate.glob(f"*/{CHECKPOINT}"))
    if not trees:
        raise InputMissing(f"{certificate} is no certificate: no {CHECKPOINT} in it or in a folder below")
    return trees
