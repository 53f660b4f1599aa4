"""A bucket of any number of keys that exist in no store: LIST is made up page by page, all else is forwarded.

    python -m bench.listing_server --upstream http://127.0.0.1:9000 --keys 200000 [--differ-every 2]

Keys ascend; size and ETag follow from the key. With --differ-every n, every n-th key has another size and ETag,
as a destination that is not up to date. Only LIST of BUCKET outside `.s3migrate` prefixes is made up, so that
probes and canaries reach a real server.
"""

from __future__ import annotations

import argparse
import bisect
import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import overload
from urllib.parse import quote_plus

from support.fault_proxy import FaultProxy
from support.fault_rules import Request, Respond

from bench.workloads import BUCKET

FOLDER = "d"
PER_FOLDER = 1_000


class Keys(Sequence[str]):
    """d000000/00000000.bin, ... ascending, none of them kept."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._key(n) for n in range(*place.indices(self._count))]
        if not 0 <= place < self._count:
            raise IndexError(place)
        return self._key(place)

    @staticmethod
    def _key(number: int) -> str:
        return f"{FOLDER}{number // PER_FOLDER:06d}/{number:08d}.bin"


class ListingServer(FaultProxy):
    """Answers ListObjectsV2 itself."""

    def __init__(self, upstream: str, keys: int, *, differ_every: int = 0, port: int = 0) -> None:
        super().__init__(upstream, port=port)
        self._keys = Keys(keys)
        self._differ_every = differ_every

    def intercept(self, request: Request) -> Respond | None:
        """A page of the listing, where that is what was asked for."""
        prefix = request.query.get("prefix", "")
        made_up = prefix == "" or prefix.startswith(FOLDER)
        if request.operation != "list" or request.bucket != BUCKET or not made_up or "list-type" not in request.query:
            return None
        return Respond(200, self._page(request.query, prefix), {"Content-Type": "application/xml"})

    def _page(self, query: Mapping[str, str], prefix: str) -> str:
        most = min(1_000, int(query.get("max-keys", "1000")))
        after = query.get("continuation-token") or query.get("start-after") or ""
        place = max(bisect.bisect_right(self._keys, after), bisect.bisect_left(self._keys, prefix))
        delimiter = query.get("delimiter", "")
        entries: list[str] = []
        last = ""
        while place < len(self._keys) and len(entries) < most and self._keys[place].startswith(prefix):
            key = self._keys[place]
            folder, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if cut:
                last = prefix + folder + delimiter
                entries.append(f"<CommonPrefixes><Prefix>{quote_plus(last, safe='/')}</Prefix></CommonPrefixes>")
                place = bisect.bisect_left(self._keys, prefix + folder + chr(ord(delimiter) + 1))
                last += "\U0010ffff"
            else:
                last = key
                entries.append(self._entry(key, place))
                place += 1
        more = place < len(self._keys) and self._keys[place].startswith(prefix)
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{quote_plus(prefix, safe='/')}</Prefix><KeyCount>{len(entries)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{''.join(entries)}</ListBucketResult>"
        )

    def _entry(self, key: str, number: int) -> str:
        differs = bool(self._differ_every) and number % self._differ_every == 0
        etag = hashlib.md5(f"{key}{differs}".encode(), usedforsecurity=False).hexdigest()
        size = 1_000 + number % 100_000 + (1 if differs else 0)
        day = 1 if differs else 2
        return (
            f"<Contents><Key>{key}</Key><LastModified>2024-01-0{day}T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )


def main() -> None:
    """Serve until killed; prints the endpoint."""
    parser = argparse.ArgumentParser(prog="python -m bench.listing_server")
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--differ-every", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with ListingServer(options.upstream, options.keys, differ_every=options.differ_every, port=options.port) as server:
        print(server.endpoint_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
