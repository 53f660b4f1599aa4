"""What two ends must not be: the same place, or places that overlap."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from itertools import combinations
from urllib.parse import urlsplit

from schema.canonical import canonical_json
from schema.declaration import Declaration, Pair, Side
from schema.errors import DeclarationError

_NAMESPACE = uuid.UUID("6b1f7a52-70c4-5a0e-8f2e-3b5f0c5a9d11")


def is_aws(side: Side) -> bool:
    """Whether a side is at AWS, as far as its endpoint tells."""
    if side.endpoint_url is None:
        return True
    host = urlsplit(side.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def refuse_overlaps(pairs: Sequence[Pair]) -> None:
    """Raise DeclarationError when a destination overlaps a source or another destination, or two ids are equal.

    Writing where something is still to be read, or twice to one place, would make the outcome depend on the order.
    """
    if len({pair.id for pair in pairs}) != len(pairs):
        raise DeclarationError("two pairs have the same id; give each its own")
    for pair in pairs:
        for other in pairs:
            if _overlap(pair.destination, other.source):
                raise DeclarationError(
                    f"the destination of {pair.id} ({_shown(pair.destination)}) overlaps the source of {other.id} "
                    f"({_shown(other.source)}); a migration must not write where it reads"
                )
    for one, two in combinations(pairs, 2):
        if _overlap(one.destination, two.destination):
            raise DeclarationError(
                f"the destinations of {one.id} and {two.id} overlap ({_shown(one.destination)} and "
                f"{_shown(two.destination)}); give them prefixes apart from each other"
            )


def _overlap(one: Side, two: Side) -> bool:
    if not _places(one) & _places(two):
        return False
    return one.prefix.startswith(two.prefix) or two.prefix.startswith(one.prefix)


def _places(side: Side) -> set[tuple[str, str]]:
    """Under every endpoint declared for it."""
    urls = {side.endpoint_url, *side.endpoint_candidates}
    return {_place(dataclasses.replace(side, endpoint_url=url)) for url in urls}


def _place(side: Side) -> tuple[str, str]:
    """Endpoint and bucket in one spelling. Two names of one server are not recognised as one."""
    if is_aws(side) or side.endpoint_url is None:
        return "aws", side.bucket
    url = urlsplit(side.endpoint_url)
    port = url.port or (80 if url.scheme == "http" else 443)
    return f"{(url.hostname or '').rstrip('.')}:{port}{url.path.rstrip('/')}", side.bucket


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
        [pair.id, *(part for side in (pair.source, pair.destination) for part in (*min(_places(side)), side.prefix))]
        for pair in declaration.pairs
    ]
    return str(uuid.uuid5(_NAMESPACE, canonical_json([declaration.name, ends]).decode()))
