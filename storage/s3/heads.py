"""Heads of objects: by HEAD, and by GET where a HEAD is refused or incomplete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from schema.errors import (
    AccessRefused,
    FeatureUnsupported,
    ObjectArchived,
    ObjectMissing,
    ResponseUnreadable,
    StoreError,
    WhichSide,
)
from schema.objects import ObjectHead
from storage.port import HeaderList
from storage.s3.answers import told_etag, told_size, with_first_byte
from storage.wire.errors import Purpose
from storage.wire.exchange import Answer
from storage.wire.wire import Operation, Wire

_FIRST_BYTE: Final = [("range", "bytes=0-0")]
_EMPTY_MD5: Final = "d41d8cd98f00b204e9800998ecf8427e"


class Heads:
    """Asks for heads of the objects of one bucket. Usable from many threads."""

    def __init__(self, wire: Wire, read: Callable[[Operation], Answer]) -> None:
        """*read* sends what reads an object, with the customer's key where there is one."""
        self._wire = wire
        self._read = read
        self._refused = False
        """HEAD was refused twice where GET was answered: some proxies pass GET only."""

    def ask(self, key: str, query: HeaderList, extra: HeaderList) -> ObjectHead:
        """See ObjectStore.head; *query* names the version."""
        operation = Operation("HeadObject", Purpose.READ, "HEAD", key, query, extra)
        answer = self._answer(operation, extra)
        if "etag" not in answer.headers and "last-modified" not in answer.headers:
            raise self._wire.unreadable(operation, answer, "it has neither ETag nor Last-Modified: no object's head")
        if self._wire.unpacks and told_size(answer.headers) is None:
            operation = replace(operation, headers=extra, packed=True)  # compressed objects show their size only so
            answer = self._answer(operation, extra)
        headers = dict(answer.headers)
        if told_size(headers) == 0 and told_etag(headers) != _EMPTY_MD5:
            headers.pop("content-length", None)  # perhaps that of the empty answer to a HEAD, not of the object
        if told_size(headers) is None or told_etag(headers) is None:
            headers = dict(with_first_byte(headers, self._first_byte(operation)))
        size = told_size(headers)
        if size is None:
            raise self._wire.unreadable(operation, answer, "neither HEAD nor GET tells how long the object is")
        return ObjectHead(headers, size, told_etag(headers))

    def _answer(self, operation: Operation, extra: HeaderList) -> Answer:
        if self._refused:
            return self._by_get(operation, extra)
        try:
            return self._read(operation)
        except ObjectMissing as missing:
            if self._wire.side is WhichSide.SOURCE and missing.status == 404:
                raise self._why_missing(operation, missing) from None
            raise
        except (AccessRefused, FeatureUnsupported) as refused:
            try:
                answer = self._by_get(operation, extra)
            except StoreError as error:
                # The answer to a HEAD has no body; that of the GET says why.
                raise (error if type(error) in (type(refused), ObjectArchived) else refused) from None
            self._refused = self._is_refused(operation)
            return answer

    def _is_refused(self, head: Operation) -> bool:
        """Whether *head*, which was refused once, is refused again: one refusal may be of that moment alone."""
        try:
            self._read(head)
        except (AccessRefused, FeatureUnsupported):
            return True
        except StoreError:
            return False
        return False

    def _by_get(self, head: Operation, extra: HeaderList) -> Answer:
        """What a GET of the first byte says of what *head* asks; of an empty object a GET of it all.

        Of an archived object only a HEAD tells more than that it is archived.
        """
        try:
            return self._get(head, [*extra, *_FIRST_BYTE])
        except ObjectArchived as archived:
            try:
                return self._read(head)
            except (AccessRefused, FeatureUnsupported):
                raise archived from None
        except StoreError as error:
            if error.status != 416:
                raise
            return self._get(head, extra)

    def _first_byte(self, head: Operation) -> Answer:
        """GET of the first byte of what was asked by *head*; of an empty object, which has none, an empty answer."""
        try:
            return self._get(head, _FIRST_BYTE)
        except StoreError as error:
            if error.status != 416:
                raise
            return Answer(200, {"content-length": "0"}, b"", 0, 0.0, 0.0)

    def _get(self, head: Operation, headers: HeaderList) -> Answer:
        into = memoryview(bytearray(1))
        named = Operation("GetObject", Purpose.READ, "GET", head.key, head.query, headers, into=into)
        named.packed = head.packed
        return self._read(named)

    def _why_missing(self, head: Operation, missing: ObjectMissing) -> StoreError:
        """What the source says about an object whose HEAD is 404, which has no body and may mean a missing bucket as
        well. Only a GET shows the code. A GET that reads the object shows that the HEAD cannot be trusted.
        """
        try:
            self._read(Operation("GetObject", Purpose.READ, "GET", head.key, head.query, _FIRST_BYTE))
        except StoreError as error:
            return error
        told = f"{missing}; yet GetObject reads it"
        return ResponseUnreadable(told, operation=head.name, key=head.key, status=missing.status, side=missing.side)
