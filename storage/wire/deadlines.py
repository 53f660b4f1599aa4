"""The time limits of each request, from the declared timeouts."""

from __future__ import annotations

from schema.timeouts import Timeouts
from storage.wire.exchange import Patience

STREAMED_LEAST_SECONDS = 600
"""A body that comes from another request stands still while that one is silent, or is repeated."""
_KINDS = {
    "ListObjectsV2": "list",
    "ListObjects": "list",
    "ListObjectVersions": "list",
    "ListMultipartUploads": "list",
    "ListParts": "list",
    "HeadObject": "head",
    "GetObject": "get",
    "PutObject": "put",
    "UploadPart": "put",
}
_WHOLE = {"CompleteMultipartUpload": "complete", "CopyObject": "copy", "UploadPartCopy": "copy"}
"""Operations bounded from beginning to end; of the others only silence is bounded."""


class Deadlines:
    """A Patience for each operation; the same object each time, so that a connection sees when nothing changed."""

    def __init__(self, timeouts: Timeouts) -> None:
        connect = timeouts.connect
        self._of = {name: Patience(getattr(timeouts, kind), 0, connect) for name, kind in _KINDS.items()}
        self._of |= {name: Patience(0, getattr(timeouts, kind), connect) for name, kind in _WHOLE.items()}
        self._other = Patience(timeouts.other, 0, connect)
        self._streamed = Patience(max(STREAMED_LEAST_SECONDS, timeouts.get + timeouts.put), 0, connect)

    def of(self, operation: str, *, streamed: bool) -> Patience:
        """The limits of the operation of that name; *streamed*: its body comes from another request."""
        return self._streamed if streamed else self._of.get(operation, self._other)
