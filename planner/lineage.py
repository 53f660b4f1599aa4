"""Which migration a plan belongs to, and where its manifests must not be kept."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from schema.declaration import Declaration, Pair, Side
from schema.ends import servers_of
from schema.errors import DeclarationError
from schema.formats.canonical import canonical_json

_NAMESPACE = uuid.UUID("6b1f7a52-70c4-5a0e-8f2e-3b5f0c5a9d11")


def _shown(side: Side) -> str:
    return f"{side.endpoint_url or 'AWS'} {side.bucket}/{side.prefix}"


def refuse_manifests_inside(store: str, pairs: Sequence[Pair]) -> None:
    """Raise DeclarationError when the manifests would be kept where objects are listed, on whatever endpoint.

    At the source they would be migrated; at the destination they would be extraneous, and deleted where that is on.
    """
    if not store.startswith("s3://"):
        return
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    for pair in pairs:
        for what, side in (("source", pair.source), ("destination", pair.destination)):
            if side.bucket == bucket and (side.prefix.startswith(prefix) or prefix.startswith(side.prefix)):
                raise DeclarationError(
                    f"the manifests ({store}) would lie inside the {what} of {pair.id} ({_shown(side)}); keep them in "
                    "another bucket, or in a folder"
                )


def lineage_of(declaration: Declaration) -> str:
    """The UUID all plans between these ends under this name share. The same declaration gives the same one.

    Of several endpoints the first by the alphabet stands for the side, whichever of them is in use.
    """
    ends = [
        [pair.id, *(part for side in (pair.source, pair.destination) for part in _place(side))]
        for pair in declaration.pairs
    ]
    return str(uuid.uuid5(_NAMESPACE, canonical_json([declaration.name, ends]).decode()))


def _place(side: Side) -> tuple[str, str, str]:
    return min(servers_of(side)), side.bucket, side.prefix
