"""What a write made, asked of the destination where its answer does not tell."""

from __future__ import annotations

from schema.objects import ListedObject, supported
from storage.port import ObjectStore


def newest_version(store: ObjectStore, key: str) -> ListedObject | None:
    """The current version or delete marker of *key*, as listed; None: there is none. Raises StoreErrors."""
    newest: ListedObject | None = None
    # Oldest first; keys ascend, so the key itself comes before all that only begin with it.
    for version in supported(store.list_versions(key)):
        if version.key != key:
            break
        newest = version
    return newest
