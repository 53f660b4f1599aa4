"""The classes in which stores price requests, and the class of each S3 operation.

As AWS has them: GET and all others at one price, PUT, COPY, POST and LIST at a higher one, DELETE for nothing. LIST is
kept apart from the writes, as in a plan's estimate.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache


class RequestClass(IntEnum):
    """What a request costs. The numbers are positions in the ledger's arrays: new ones go to the end."""

    GET = 1
    PUT = 2
    """Also COPY and POST: uploads are begun, filled part by part, and completed at this price."""
    DELETE = 3
    """Free. Also aborts of uploads."""
    LIST = 4
    RESTORE = 5
    """From an archive; priced by its tier."""


_OPERATIONS = {
    "ListObjectsV2": RequestClass.LIST,
    "ListObjects": RequestClass.LIST,
    "ListObjectVersions": RequestClass.LIST,
    "ListMultipartUploads": RequestClass.LIST,
    "ListParts": RequestClass.LIST,
    "POST ?restore": RequestClass.RESTORE,
    "POST ?delete": RequestClass.DELETE,
}
_READS = ("Get", "Head", "GET", "HEAD")
_FREE = ("Delete", "Abort", "DELETE")


@lru_cache(maxsize=256)
def class_of(operation: str) -> RequestClass:
    """The class of an operation by the name it has in a storage.port.RequestSample."""
    if operation in _OPERATIONS:
        return _OPERATIONS[operation]
    if operation.startswith(_READS):
        return RequestClass.GET
    return RequestClass.DELETE if operation.startswith(_FREE) else RequestClass.PUT
