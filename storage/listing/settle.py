"""What a listing does not state is requested by HEAD; where a HEAD does not state it either, the key is reported as
unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from schema.errors import Scope, StoreError
from schema.objects import ListedEntry, ListedObject, ObjectHead, UnsupportedEntry
from storage.listing.coding import KeyExists, ListedText
from storage.listing.entry import ShownEntry, Times, new_object
from storage.port import Believe

AskHead = Callable[[str, str | None], ObjectHead]
"""HEAD of a key and a version. Raises StoreError, ObjectMissing above all."""
_WHOLE = frozenset({ListedObject})
AT_ONCE = 16
"""HEADs in flight at a time."""


@dataclass(frozen=True, slots=True)
class Settler:
    """Completes entries by HEAD; where listings are not trusted, even those that look complete."""

    head: AskHead | None
    times: Times
    believe: Believe = Believe.LISTING

    def settle(self, entries: Sequence[ShownEntry]) -> Iterable[ListedEntry]:
        """The same entries, in the same order, each as it can be planned."""
        if self.believe is Believe.LISTING and _WHOLE.issuperset(map(type, entries)):
            return entries  # type: ignore[return-value]  # every one a ListedObject
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="listing-head") as pool:
            return list(pool.map(self._one, entries))

    def _one(self, entry: ShownEntry) -> ListedEntry:
        if isinstance(entry, ListedObject):
            doubted = self.believe is Believe.HEAD and not entry.delete_marker
            return self._asked(entry) if doubted else entry
        if entry.flaw:
            return unsupported(entry, entry.flaw)
        if entry.is_latest is None:
            return unsupported(entry, "the listing does not say whether this version is the latest; exclude the key")
        if entry.delete_marker:
            return unsupported(entry, "the listing gives no time for this delete marker; exclude the key")
        return self._asked(entry)

    def _asked(self, entry: ShownEntry) -> ListedEntry:
        if self.head is None:
            return unsupported(entry, f"the listing does not tell its {_untold(entry)}")
        try:
            head = self.head(entry.key, entry.version_id)
        except StoreError as error:
            if error.scope is Scope.RUN:
                raise
            why = f"the listing does not tell its {_untold(entry)}" if _untold(entry) else "the listing is not trusted"
            return unsupported(entry, f"{why}, and a HEAD of it failed: {error}")
        size = told_length(head)
        modified = entry.modified_ms
        if modified is None and head.last_modified is not None:
            modified = self.times.milliseconds(head.last_modified)
        if size is None or modified is None:
            lacking = "size" if size is None else "time"
            return unsupported(entry, f"neither the listing nor a HEAD tells its {lacking}; exclude it")
        etag = head.etag or ""
        return new_object((entry.key, size, etag, modified, *entry[4:7], bool(entry.is_latest), *entry[8:10]))


def told_length(head: ObjectHead) -> int | None:
    """The size that a HEAD's answer gives; None when it gives none."""
    text = head.headers.get("content-length", "")
    return head.size if (text.isascii() and text.isdigit()) or "content-range" in head.headers else None


def key_exists(head: AskHead, key: str, listed: ListedText) -> KeyExists:
    """HEAD *key* and compare its size and ETag with what was listed."""
    try:
        found = head(key, None)
    except StoreError as error:
        if error.scope is Scope.RUN:
            raise
        return KeyExists.MISSING if error.status == 404 else KeyExists.UNKNOWN
    same = listed.size in (None, told_length(found)) and listed.etag in (None, found.etag)
    return KeyExists.SAME if same else KeyExists.OTHER


def unsupported(entry: ShownEntry, reason: str) -> UnsupportedEntry:
    """*entry*, which cannot be migrated for that *reason*."""
    return UnsupportedEntry(*entry[:4], entry.version_id, entry.delete_marker, reason)


def _untold(entry: ShownEntry) -> str:
    named = {"size": entry.size, "ETag": entry.etag, "time": entry.modified_ms}
    return " and ".join(name for name, value in named.items() if value is None) or "key and size for certain"


def settled(pages: Iterable[Sequence[ShownEntry]], settler: Settler) -> Iterator[ListedEntry]:
    """The entries of *pages*, one after the other."""
    for page in pages:
        yield from settler.settle(page)
