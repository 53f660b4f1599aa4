"""What earlier plans of a lineage put in place, so that a re-plan does not plan it again.

ETags of multipart and encrypted objects differ between two sides; the ledger knows which destination ETag
belongs to which source ETag.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from executor.ledger.ledger import Ledger
from planner.march import Completion
from schema.errors import ManifestMissing
from schema.manifest import ManifestStore, read_entries
from schema.objects import ListedObject
from storage.listing.sorting import ExternalSort

SORT_MEMORY = 16 * 1024 * 1024


def completed_before(ledger: Ledger, manifests: ManifestStore, lineage: str, section: str) -> Iterator[Completion]:
    """(destination key, source ETag, destination ETag), ascending by key; a key may come several times.

    A manifest that is no longer kept is as if it had never been: its objects are compared like any others.
    """
    with ExternalSort(lambda item: (item[1].key, item[0]), SORT_MEMORY) as sort:
        for digest, rows in groupby(ledger.reports.completed_before(lineage, section), key=lambda row: row.manifest):
            lines = read_entries(manifests, digest)
            try:
                ord, entry = next(lines)
                for row in rows:
                    while ord < row.ord:
                        ord, entry = next(lines)
                    sort.add(ListedObject(entry.target, entry.size, row.destination_etag, 0, checksum=entry.etag))
            except (ManifestMissing, StopIteration):
                continue
        for _, listed in sort.sorted():
            yield listed.key, listed.checksum, listed.etag
