"""What earlier plans of a lineage copied, so that it is not copied again.

The ETags of multipart and encrypted objects differ between the two sides; the ledger knows which destination ETag
belongs to which source ETag.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from planner.march import EarlierCopy
from schema.errors import ManifestMissing
from schema.files.manifest import ManifestStore, read_entries
from storage.disk_sort import sort_on_disk

if TYPE_CHECKING:
    from executor.ledger.ledger import Ledger
    from executor.ledger.values import EarlierCompletion


def completed_before(ledger: Ledger, manifests: ManifestStore, *, lineage: str, section: str) -> Iterator[EarlierCopy]:
    """(destination key, source ETag, destination ETag), ascending by key; a key may appear several times.

    A manifest that no longer exists is ignored: its objects are compared like any others.
    """
    return sort_on_disk(_copies(ledger.reports.completed_before(lineage, section), manifests), itemgetter(0))


def _copies(completions: Iterator[EarlierCompletion], manifests: ManifestStore) -> Iterator[EarlierCopy]:
    """In the order of the ledger's rows."""
    for digest, rows in groupby(completions, key=lambda row: row.manifest):
        lines = read_entries(manifests, digest)
        try:
            ord, entry = next(lines)
            for row in rows:
                while ord < row.ord:
                    ord, entry = next(lines)
                yield entry.target, entry.etag, row.destination_etag
        except (ManifestMissing, StopIteration):
            continue
