"""Requesting a bucket's pages: in the form its server understands, with retries, remembering what was learned of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from schema.errors import ListingRefused, ResponseUnreadable, StoreError
from storage.listing.coding import KeyCodings, KeyExists, ListedText
from storage.listing.entry import Times
from storage.listing.page import Page, PageReader, Query
from storage.listing.settle import AskHead, key_exists
from storage.retrying import Retry

PageFetch = Callable[[list[tuple[str, str]]], bytes]
"""One LIST request with these query parameters (not yet encoded); the whole body. Raises StoreError."""

SORT_MEMORY = 64 * 1024 * 1024
_REFUSALS = (400, 405, 501)
"""Statuses of servers that do not know a parameter of the listing."""
_ENCODED = ("encoding-type", "url")


class Kind(Enum):
    """What is listed."""

    OBJECTS = "objects"
    VERSIONS = "versions"


_FORMS: dict[Kind, tuple[Query, ...]] = {
    Kind.OBJECTS: ((("list-type", "2"), _ENCODED), (_ENCODED,), ()),
    Kind.VERSIONS: ((("versions", ""), _ENCODED), (("versions", ""),)),
}
"""Forms of the request, the best first. Each is tried when the server refuses the one before."""
_V1 = 1
"""The first form of ListObjects without list-type."""
_PARSE = {Kind.OBJECTS: PageReader.objects, Kind.VERSIONS: PageReader.versions}


@dataclass(slots=True)
class ListingHabits:
    """What listings have shown of one bucket's server. Keep one per bucket and hand it to every listing of it."""

    unordered: bool = False
    """True: sort from the start."""
    forms: dict[Kind, int] = field(default_factory=dict)
    """The form it understands, once the best one was refused."""
    answered: set[Kind] = field(default_factory=set)
    """What it has listed: a refusal after that is not about the form."""
    codings: KeyCodings = field(default_factory=KeyCodings)
    interleaves: bool = False
    """True: it was seen to list a delete marker between the versions of its key."""


@dataclass(frozen=True, slots=True)
class ListedBucket:
    """A bucket that can be listed, and what a listing of it may use."""

    name: str
    fetch: PageFetch
    """Usable from several threads, as is `head`."""
    head: AskHead | None = None
    """None: what an entry does not state stays unknown."""
    habits: ListingHabits = field(default_factory=ListingHabits)
    retry: Retry = field(default_factory=Retry)
    sort_memory: int = SORT_MEMORY
    """Bytes held while an unordered listing is sorted."""

    def patient_head(self) -> AskHead | None:
        """`head` with retries."""
        head = self.head
        if head is None:
            return None
        return lambda key, version_id: self.retry.call(lambda: head(key, version_id))


class _Closed(Exception):
    """The listing was closed while a page was being retried."""


class PageSource:
    """The pages of one listing of *bucket*. *read* may be called from many threads until *stop* is set."""

    def __init__(self, bucket: ListedBucket, prefix: str, kind: Kind, *, limit: Query = ()) -> None:
        """*limit*: further parameters of each request."""
        self.stop = threading.Event()
        self.times = Times()
        self._bucket = bucket
        self._prefix = prefix
        self._kind = kind
        self._limit = limit
        self._retry = replace(bucket.retry, wait=self._wait)
        self._pages = PageReader(bucket.name, prefix, bucket.habits.codings, self.key_exists, self.times)

    def read(self, start_after: str, following: Query) -> Page:
        """One page (see ranges.ReadPage). An answer that stays unreadable is a ListingRefused."""
        habits = self._bucket.habits
        try:
            page = self._in_a_form_it_knows(lambda: self._retry.call(lambda: self._once(start_after, following)))
        except ResponseUnreadable as error:
            raise ListingRefused(
                str(error), operation="LIST", status=error.status, code=error.code, request_id=error.request_id
            ) from error
        if page.following and page.following[0][0] == "marker":
            habits.forms[self._kind] = max(_V1, habits.forms.get(self._kind, 0))
        return page

    def key_exists(self, key: str, listed: ListedText) -> KeyExists:
        """What a HEAD says of *key* (coding.AskKey)."""
        head = self._bucket.patient_head()
        return KeyExists.UNKNOWN if head is None else key_exists(head, key, listed)

    def _once(self, start_after: str, following: Query) -> Page:
        return _PARSE[self._kind](self._pages, self._bucket.fetch(self._query(start_after, following)))

    def _query(self, start_after: str, following: Query) -> list[tuple[str, str]]:
        form = _FORMS[self._kind][self._bucket.habits.forms.get(self._kind, 0)]
        names = [name for name, _ in form]
        begins = "key-marker" if "versions" in names else "start-after" if "list-type" in names else "marker"
        begin: Query = ((begins, start_after),) if start_after else ()
        prefix: Query = (("prefix", self._prefix),) if self._prefix else ()
        return [*form, *self._limit, *prefix, *(following or begin)]

    def _in_a_form_it_knows(self, read: Callable[[], Page]) -> Page:
        """*read*, in another form of the request when the server refuses the one used so far."""
        kind, habits = self._kind, self._bucket.habits
        began = habits.forms.get(kind, 0)
        try:
            page = read()
        except StoreError as refused:
            if refused.status not in _REFUSALS or kind in habits.answered:
                raise
            for form in range(began + 1, len(_FORMS[kind])):
                habits.forms[kind] = form
                try:
                    return read()
                except StoreError as again:
                    if again.status not in _REFUSALS:
                        break
            habits.forms[kind] = began
            raise
        habits.answered.add(kind)
        return page

    def _wait(self, seconds: float) -> None:
        self._bucket.retry.wait(seconds)
        if self.stop.is_set():
            raise _Closed
