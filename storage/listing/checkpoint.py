"""What a listing has given so far, in a file from which it resumes after a kill.

The file is a row of blocks, each with its length, its number of entries and its SHA-256. The first says which listing
it is and when it began. A block is appended in one write; whatever does not match its hash, and all behind it, counts
as not written. Nothing in the file is executed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import IO, NamedTuple

from schema.errors import FeatureUnsupported, ListingRefused, ListingUnordered, LocalDiskError, ObjectRefused
from schema.objects import ListedEntry
from schema.plan import ListingKind, Risk
from storage.listing.blocks import FORM, LEVEL, UNSEEN, ListingBlock, OrderSeen, packed, unpacked
from storage.listing.source import BucketSource
from storage.port import Listing, PageTally

BLOCK_ENTRIES = 10_000
"""Entries in a block, and in memory until it is written. A listing that is shorter leaves no file."""
_PIECE = 1000
"""Entries handed on at a time. A whole block at once would empty what is read ahead."""
MOST_AGE = 24 * 3600.0
"""Seconds after which an interrupted listing is not resumed: what was written since would not be seen."""
_FRAME = struct.Struct("<II32s")


class ListedEarlier(NamedTuple):
    """What an interrupted listing left."""

    objects: int
    last_key: str
    began: float
    """Seconds since the epoch."""
    end: ListingBlock
    """The last of it, down to a whole key."""
    key_before: str = ""
    """The key before the last one; '': none."""


class ListingCheckpoint:
    """The file of one listing, of which *identity* says everything that decides what it lists.

    `earlier` is what was found at the start: None when there was nothing, or nothing that counts (torn at its
    beginning, of another identity, older than MOST_AGE, in use by another process). Locked from then on, as far as a
    file exists. A disk that cannot be written costs the checkpoint, never the listing.
    """

    def __init__(self, path: Path, identity: Mapping[str, str], *, now: float) -> None:
        self._path = path
        self._identity = {**identity, "form": FORM}
        self._now = now
        self._file: IO[bytes] | None = None
        self._given_up = False
        self._end = 0
        self.earlier = self._found()

    def blocks(self) -> Iterator[Sequence[ListedEntry]]:
        """The entries of `earlier`. Raises LocalDiskError when they can no longer be read."""
        if self._file is None or self.earlier is None:
            return
        at, end = self._end_of_header, self._end
        while at < end:
            try:
                self._file.seek(at)
                payload = _payload(self._file)
            except OSError as error:
                raise self._unreadable(str(error)) from error
            if payload is None:
                raise self._unreadable("it has changed meanwhile")
            at = self._file.tell()
            yield unpacked(payload.data).entries

    def append(self, block: ListingBlock) -> None:
        """What comes next in the listing."""
        if self._given_up:
            return
        try:
            if self._file is None and not self._created():
                self._given_up = True
                return
            self._write_block(block)
        except OSError:
            self.drop()

    def drop(self) -> None:
        """Remove the file: this listing will not be resumed."""
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink()
        self._given_up = True
        self.close()

    def close(self) -> None:
        """Close the file and leave it for the next plan."""
        if self._file is not None:
            # After a failed write the rest of its buffer fails again here, and is no longer needed.
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _found(self) -> ListedEarlier | None:
        try:
            self._file = self._path.open("r+b")
            if not self._locked():
                return None
            earlier = self._scanned(self._file)
            if earlier is not None:
                self._file.truncate(self._end)
        except (OSError, ValueError, KeyError, TypeError, zlib.error):  # nothing that we have written
            earlier = None
        if earlier is None:
            self.close()
        return earlier

    def _locked(self) -> bool:
        """Whether no other process has the file. One that has keeps it, and this one does without."""
        if self._file is None:
            return False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._given_up = True
            self.close()
            return False
        return True

    def _scanned(self, file: IO[bytes]) -> ListedEarlier | None:
        """What the file's whole blocks hold; its end is behind the last of them."""
        header = _payload(file)
        if header is None:
            return None
        said = json.loads(zlib.decompress(header.data))
        if said["identity"] != self._identity or not 0 <= self._now - said["began"] <= MOST_AGE:
            return None
        self._end_of_header = self._end = file.tell()
        objects, starts = 0, list[int]()
        while (payload := _payload(file)) is not None:
            starts.append(self._end)
            objects, self._end = objects + payload.entries, file.tell()
        if not starts:
            return None
        last = _block_at(file, starts[-1])
        if not last.whole:
            removed, last = self._cut_last_key(file, starts, last)
            objects -= removed
        if not objects or not last.entries:
            return None
        key = last.entries[-1].key
        blocks = chain((last,), (_block_at(file, start) for start in reversed(starts[:-1])))
        others = (entry.key for block in blocks for entry in reversed(block.entries) if entry.key != key)
        return ListedEarlier(objects, key, said["began"], last, next(others, ""))

    def _cut_last_key(self, file: IO[bytes], starts: list[int], ended: ListingBlock) -> tuple[int, ListingBlock]:
        """Remove the last key, of which more versions may follow. How many entries it had, and the block that is now
        the last; *starts*: where each begins, of which those that are gone are removed; *ended*: the last of them.
        """
        key, removed = ended.entries[-1].key, 0
        while starts:
            block = _block_at(file, starts[-1])
            kept = [entry for entry in block.entries if entry.key != key]
            removed += len(block.entries) - len(kept)
            self._end = starts[-1]
            if kept:
                whole = ListingBlock(kept, ended.order)
                self._write_block(whole)
                return removed, whole
            starts.pop()
        return removed, ListingBlock(())

    def _created(self) -> bool:
        """Begin a file of our own, in place of one that does not count. False: another process has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self._file = os.fdopen(handle, "r+b")
        if not self._locked():
            return False
        self._file.truncate(0)
        self._end = 0
        header = json.dumps({"identity": self._identity, "began": self._now})
        self._write(zlib.compress(header.encode(), LEVEL), 0)
        self._end_of_header = self._end
        return True

    def _write_block(self, block: ListingBlock) -> None:
        self._write(packed(block), len(block.entries))

    def _write(self, data: bytes, entries: int) -> None:
        if self._file is None:
            return
        self._file.seek(self._end)
        self._file.write(_FRAME.pack(len(data), entries, _digest(data, entries)) + data)
        self._file.flush()
        self._end = self._file.tell()

    def _unreadable(self, why: str) -> LocalDiskError:
        return LocalDiskError(f"{self._path}, a listing that was interrupted, cannot be read: {why}. Plan with --fresh")


class _Payload(NamedTuple):
    """One block as it lies in the file."""

    data: bytes
    entries: int


def _payload(file: IO[bytes]) -> _Payload | None:
    """The next block; None at the end, and for one that is not whole."""
    frame = file.read(_FRAME.size)
    if len(frame) < _FRAME.size:
        return None
    length, entries, digest = _FRAME.unpack(frame)
    if length > os.fstat(file.fileno()).st_size - file.tell():
        return None
    data = file.read(length)
    return _Payload(data, entries) if _digest(data, entries) == digest else None


def _digest(data: bytes, entries: int) -> bytes:
    return hashlib.sha256(b"%d:%b" % (entries, data)).digest()


def _block_at(file: IO[bytes], start: int) -> ListingBlock:
    """The block that begins at *start*, where one was found. Raises ValueError when it has changed."""
    file.seek(start)
    payload = _payload(file)
    if payload is None:
        raise ValueError(start)
    return unpacked(payload.data)


def goes_on(bucket: BucketSource, earlier: ListedEarlier) -> bool:
    """Whether a listing that begins after a key gives all that comes next.

    Of objects that is asked of every server, in parallel listings. Of versions it is tried here, with the last key:
    some servers leave out its newest version, and some know no marker of a key alone. Raises StoreErrors that are not
    about this question.
    """
    if bucket.kind is ListingKind.OBJECTS:
        return True
    if not earlier.key_before:
        return False
    known = {entry.version_id for entry in earlier.end.entries if entry.key == earlier.last_key}
    try:
        with closing(bucket.listing_after(earlier.key_before)) as listing:
            found = {entry.version_id for entry in takewhile(lambda entry: entry.key == earlier.last_key, listing)}
    except (FeatureUnsupported, ObjectRefused, ListingRefused, ListingUnordered):
        return False
    return found >= known


@dataclass(slots=True)
class ResumedSource:
    """A bucket's objects or versions: those that an interrupted listing gave, then those after them, listed now.

    A key of which the interrupted listing may have given only some versions is listed again, all of it. Only its
    first listing resumes. A second one is requested when the server turns out not to list in order: then the
    interrupted one does not count.
    """

    bucket: BucketSource
    checkpoint: ListingCheckpoint
    block: int = BLOCK_ENTRIES
    _begun: bool = False

    @property
    def kind(self) -> ListingKind:
        """See ListingSource."""
        return self.bucket.kind

    @property
    def origin(self) -> str:
        """See ListingSource."""
        return self.bucket.origin

    def listing(self) -> Listing:
        """See ListingSource."""
        if self._begun:
            self.checkpoint.drop()
            return self.bucket.listing()
        self._begun = True
        tally = PageTally()
        return Listing(self._entries(tally), tally)

    def remarks(self) -> Sequence[Risk]:
        """See ListingSource: how old a part is belongs to the plan's provenance; what it holds is the same."""
        return self.bucket.remarks()

    def _entries(self, tally: PageTally) -> Generator[ListedEntry, None, None]:
        earlier = self.checkpoint.earlier
        for given in self.checkpoint.blocks():
            tally.shown += len(given)
            yield from given
        key, before = ("", UNSEEN) if earlier is None else (earlier.last_key, earlier.end.order)
        rest = self.bucket.listing_after(key)
        listed = self._objects if self.kind is ListingKind.OBJECTS else self._versions
        with closing(rest):
            for some in listed(rest, before):
                yield from some
            self._refuse_disorder(rest.tally)
        tally.shown += rest.tally.shown
        tally.set_aside += rest.tally.set_aside
        seen = before.followed_by(rest.tally)
        if not seen.interleaves:
            tally.unclear_keys, tally.unclear_examples = seen.unclear_keys, [*seen.unclear_examples]

    def _objects(self, rest: Listing, before: OrderSeen) -> Iterator[Sequence[ListedEntry]]:
        """What is listed, in pieces of a page; *before*: what the earlier part has shown of the order."""
        entries, block = iter(rest), list[ListedEntry]()
        while some := list(islice(entries, min(_PIECE, self.block - len(block)))):
            self._refuse_disorder(rest.tally)
            block += some
            if len(block) == self.block:
                self.checkpoint.append(ListingBlock(block, before))
                block = []
            yield some

    def _versions(self, rest: Listing, before: OrderSeen) -> Iterator[Sequence[ListedEntry]]:
        """The same of versions, in blocks."""
        for block in self._blocks(rest):
            self._refuse_disorder(rest.tally)
            if len(block.entries) == self.block:
                self.checkpoint.append(block._replace(order=before.followed_by(block.order)))
            yield block.entries

    def _blocks(self, rest: Listing) -> Iterator[ListingBlock]:
        """Versions as they are listed."""
        block, key = list[ListedEntry](), ""
        seen = before = UNSEEN
        for entry in rest:
            if entry.key != key:
                key, before = entry.key, seen
            block.append(entry)
            if len(block) == self.block:
                yield ListingBlock(block, before, whole=False)
                block = []
            if seen.unclear_keys != rest.tally.unclear_keys or seen.interleaves is not rest.tally.interleaves:
                seen = UNSEEN.followed_by(rest.tally)
        yield ListingBlock(block, before, whole=False)

    def _refuse_disorder(self, tally: PageTally) -> None:
        """Nobody can go on behind a key of a server without order: what it gave before may lack keys that come only
        now, and what is sorted here it would not give in this order again.
        """
        if not tally.begun_again:
            return
        self.checkpoint.drop()
        if self.checkpoint.earlier is not None:
            raise ListingUnordered(
                f"the listing of {self.origin} is not in order, so it cannot be resumed and must start again",
                operation="LIST",
                key=self.checkpoint.earlier.last_key,
            )
