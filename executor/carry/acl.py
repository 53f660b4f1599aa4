"""An object's ACL as the headers of a write. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from schema.errors import ResponseUnreadable
from storage.wire.documents import AccessControlPolicy, access_control

_MAX_BYTES: Final = 256 * 1024
"""An ACL has at most 100 grants; a larger body is not an ACL."""
_HEADERS: Final = {
    "FULL_CONTROL": "x-amz-grant-full-control",
    "READ": "x-amz-grant-read",
    "READ_ACP": "x-amz-grant-read-acp",
    "WRITE_ACP": "x-amz-grant-write-acp",
}
"""WRITE exists for buckets only."""


class AclGrants(NamedTuple):
    """The grants to send with a write, and the grantees left out."""

    headers: list[tuple[str, str]]
    unmapped: tuple[str, ...]
    """Grantees of the source that `acl_grantees` does not map, with their permission, in order of appearance."""


def acl_grants(xml: bytes, grantees: Mapping[str, str]) -> AclGrants:
    """The x-amz-grant-* headers that give the destination the grants of a GetObjectAcl answer.

    *grantees* maps an ID, e-mail address or group URI of the source to one of the destination; '' drops it on purpose.
    Group URIs mean the same everywhere and need no mapping. The owner's own FULL_CONTROL is not sent: the writer
    of the copy owns it. Raises ResponseUnreadable for anything that is not an access control policy.
    """
    owner, grants = _parse(xml)
    by_header: dict[str, list[str]] = {}
    unmapped: list[str] = []
    for grant in grants:
        if grant.permission not in _HEADERS:
            continue
        target = grantees.get(grant.grantee)
        if target is None:
            if grant.kind == "id" and grant.grantee == owner:
                continue
            if grant.kind != "uri":
                unmapped.append(f"{grant.grantee} ({grant.permission})")
                continue
            target = grant.grantee
        if not target:
            continue
        if any(c in target for c in '"\r\n'):
            unmapped.append(f"{grant.grantee} ({grant.permission})")
            continue
        kind = "uri" if target.startswith(("http://", "https://")) else "emailAddress" if "@" in target else "id"
        entries = by_header.setdefault(_HEADERS[grant.permission], [])
        entry = f'{kind}="{target}"'
        if entry not in entries:
            entries.append(entry)
    return AclGrants([(name, ", ".join(entries)) for name, entries in sorted(by_header.items())], tuple(unmapped))


def missing_grants(source: bytes, destination: bytes, grantees: Mapping[str, str]) -> tuple[str, ...]:
    """Grants that the source's ACL and *grantees* ask for and the destination's ACL does not have, in words.

    Both are GetObjectAcl answers. A grant to the destination's owner is met by ownership.
    """
    owner, grants = _parse(destination)
    held = {(_HEADERS.get(grant.permission, ""), grant.grantee) for grant in grants}
    asked = [
        (header, grantee)
        for header, value in acl_grants(source, grantees).headers
        for grantee in re.findall(r'="([^"]*)"', value)
    ]
    return tuple(
        f"{grantee} ({header.removeprefix('x-amz-grant-').upper().replace('-', '_')})"
        for header, grantee in asked
        if grantee != owner and (header, grantee) not in held
    )


def _parse(xml: bytes) -> AccessControlPolicy:
    if len(xml) > _MAX_BYTES:
        raise ResponseUnreadable(
            f"GetObjectAcl answered {len(xml)} bytes; an ACL is never that long", operation="GetObjectAcl"
        )
    try:
        return access_control(xml)
    except ValueError as error:
        raise ResponseUnreadable(f"GetObjectAcl did not answer an ACL: {error}", operation="GetObjectAcl") from None
