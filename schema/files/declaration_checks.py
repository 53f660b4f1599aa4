"""Checks of a declaration beyond its shape: secrets, overlapping ends, contradictory bounds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from schema.attributes.every import LOSSES
from schema.declaration import (
    Declaration,
    DeclaredInventory,
    KeyListFormat,
    MissingValues,
    Pair,
    Policy,
    Preserve,
    Side,
)
from schema.ends import access_point, overlap
from schema.errors import DeclarationError
from schema.formats.validation import path_text
from schema.formats.yaml_strict import Lines, Path

T = TypeVar("T")

_SECRETS = (  # every repetition is bounded: the file is scanned in linear time whatever is in it
    (re.compile(rb"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), "an AWS access key id"),
    (re.compile(rb"-----BEGIN [A-Z ]*(?:PRIVATE|CERTIFICATE|KEY)"), "a PEM block"),
    (re.compile(rb"://[^/\s\"'@]{0,200}:[^/\s\"']{0,200}@"), "a user name and password in a URL"),
    (
        re.compile(
            rb"(?i)(?:secret|password|passwd|token|access_?key)[a-z_]{0,40}[\"']?\s{0,9}:\s{0,9}[\"']?[A-Za-z0-9+/=_-]{16,}"
        ),
        "a secret",
    ),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Complaints:
    """Collects what is wrong, each with its place."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._found: list[tuple[int, str]] = []

    def say(self, path: Path, message: str) -> None:
        """Record *message* about the node at *path*."""
        self._found.append((self._lines.at(path), f"{self._lines.where(path)}: {path_text(path)}: {message}"))

    def knows(self, path: Path) -> bool:
        """Whether the document has a node at *path*."""
        return self._lines.has(path)

    def parsed(self, parse: Callable[[Any], T], value: Any, path: Path) -> T | None:
        """parse(value); its ValueError becomes a complaint, and None is returned."""
        try:
            return parse(value)
        except ValueError as error:
            self.say(path, str(error))
            return None

    def raise_if_any(self) -> None:
        """Raise DeclarationError with every complaint, in line order."""
        if self._found:
            raise DeclarationError("\n".join(text for _, text in sorted(self._found)))


def refuse_secrets(data: bytes, source: str) -> None:
    """DeclarationError when *data* holds what looks like a secret, also in a comment. It is not echoed."""
    for number, line in enumerate(data.splitlines(), start=1):
        for pattern, what in _SECRETS:
            if pattern.search(line):
                raise DeclarationError(
                    f"{source}:{number}: this looks like {what}, and a declaration holds none. Remove it "
                    "(and renew it, if the file was shared), and refer to it: "
                    "credentials: {profile: NAME} or {env: PREFIX}"
                )


def instant_ms(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 date (UTC midnight) or time with zone. ValueError."""
    try:
        instant = datetime.fromisoformat(text)
        aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise ValueError("no such date or time; write 2026-11-20 or 2026-11-20T09:00:00Z") from None


def check(declaration: Declaration, said: Complaints) -> None:
    """Complain about everything in *declaration* that contradicts itself."""
    listed = said.knows(("buckets",))
    places: list[tuple[Path, Pair]] = [
        (("buckets", index) if listed else (), pair) for index, pair in enumerate(declaration.pairs)
    ]
    for path, pair in places:
        for name, side in (("source", pair.source), ("destination", pair.destination)):
            _check_side(side, (*path, name), said)
        _check_inventories(path, pair, declaration.policy, said=said)
        if pair.source.acl:
            said.say((*path, "source", "acl"), "nothing is written at the source; declare it at the destination")
        if pair.destination.acl and declaration.preserve.acl:
            said.say((*path, "destination", "acl"), "S3 takes either a canned ACL or grants; drop it, or preserve.acl")
        if overlap(pair.source, pair.destination):
            said.say(
                path,
                "source and destination overlap: the same endpoint and bucket, and one prefix begins with the other. "
                "Objects would be written over or listed as their own copies; use prefixes apart",
            )
    _check_between(places, said)
    _check_filters(declaration, said)
    _check_mapping(declaration, said)
    _check_policy(declaration.policy, declaration.preserve, said)
    _check_manifests(declaration.manifests, said)
    for index, name in enumerate(declaration.accept_loss):
        if name not in LOSSES:
            said.say(("accept_loss", index), f"there is no loss {name!r}; there are {', '.join(sorted(LOSSES))}")


def _check_between(places: list[tuple[Path, Pair]], said: Complaints) -> None:
    """Pairs must not write where another pair writes or reads."""
    for (_, first), (path, second) in combinations(places, 2):
        if first.id == second.id:
            said.say((*path, "id"), f"two pairs are called {second.id}")
        if overlap(first.destination, second.destination):
            said.say(
                (*path, "destination"), f"overlaps the destination of {first.id}; give each pair a prefix of its own"
            )
        if overlap(first.destination, second.source):
            said.say((*path, "source"), f"overlaps the destination of {first.id}; what is copied would be copied again")
        if overlap(first.source, second.destination):
            said.say((*path, "destination"), f"overlaps the source of {first.id}; what is copied would be copied again")


def _check_side(side: Side, path: Path, said: Complaints) -> None:
    for url in side.endpoint_candidates or (side.endpoint_url,):
        try:
            if url is not None and urlsplit(url).port == 0:
                raise ValueError
        except ValueError:
            said.say((*path, "endpoint_url"), "the port is not between 1 and 65535")
    said.parsed(access_point, side.bucket, (*path, "bucket"))
    if len(side.prefix.encode("utf-8")) > 1024:
        said.say((*path, "prefix"), "a key has at most 1,024 bytes, and this prefix alone has more")
    for message in _credential_complaints(side.credentials, anonymous_allowed=True):
        said.say((*path, "credentials"), message)


def _check_inventories(path: Path, pair: Pair, policy: Policy, *, said: Complaints) -> None:
    for name, inventory in (("source", pair.source_inventory), ("destination", pair.destination_inventory)):
        if inventory is not None:
            for complaint in _inventory_complaints(inventory, policy):
                said.say((*path, name, "inventory"), complaint)
    if pair.source_inventory is not None and policy.delete_extraneous != "never":
        said.say(
            (*path, "source", "inventory"),
            "delete_extraneous needs a listing of the source: what is younger than an inventory would be taken for "
            "extraneous and deleted. Remove one of the two",
        )


def _inventory_complaints(inventory: DeclaredInventory, policy: Policy) -> Iterator[str]:
    if (inventory.report is None) == (inventory.keys is None):
        yield "name either report or keys"
    if inventory.place.startswith("s3://") and not inventory.place.removeprefix("s3://").partition("/")[0]:
        yield "name a bucket: s3://bucket/key"
    if inventory.report is not None:
        yield from (
            f"{name} is of key lists; a report says it itself"
            for name in ("format", "columns", "url_encoded")
            if getattr(inventory, name)
        )
    if inventory.columns and inventory.format not in (None, KeyListFormat.CSV):
        yield f"columns are of CSV, and format is {inventory.format}"
    if inventory.missing_values is MissingValues.HEAD and policy.versions == "all":
        yield "missing_values: head asks about current objects only; with versions: all the inventory must tell all"


def _credential_complaints(reference: Mapping[str, Any], *, anonymous_allowed: bool) -> Iterator[str]:
    kinds = [kind for kind in ("profile", "env", "role_arn", "anonymous") if kind in reference]
    if len(kinds) > 1:
        yield f"{' and '.join(kinds)} exclude each other; keep one"
    if not anonymous_allowed and "anonymous" in reference:
        yield "an anonymous source cannot assume a role"
    if "role_arn" not in reference:
        yield from (f"{name} needs role_arn" for name in ("external_id", "source") if name in reference)
    elif "source" not in reference:
        yield "role_arn needs source: the credentials the role is assumed with ({} for the default chain)"
    else:
        yield from _credential_complaints(reference["source"], anonymous_allowed=False)


def _check_filters(declaration: Declaration, said: Complaints) -> None:
    filters = declaration.filters
    if filters.min_size is not None and filters.max_size is not None and filters.min_size > filters.max_size:
        said.say(("filters", "max_size"), "is smaller than min_size; no object would take part")
    after, before = filters.modified_after_ms, filters.modified_before_ms
    if after is not None and before is not None and after >= before:
        said.say(("filters", "modified_before"), "is not later than modified_after; no object would take part")


def _check_mapping(declaration: Declaration, said: Complaints) -> None:
    for index, rule in enumerate(declaration.mapping):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of sets that a later Python may read otherwise
                pattern = re.compile(rule.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            said.say(("mapping", index, "pattern"), f"not a regular expression: {error}")
            continue
        try:
            pattern.sub(rule.replace, "")
        except (re.error, IndexError) as error:
            said.say(("mapping", index, "replace"), f"does not fit the pattern: {error}")


def _check_policy(policy: Policy, preserve: Preserve, said: Complaints) -> None:
    if preserve.storage_class == "map" and not preserve.storage_class_map:
        said.say(("preserve", "storage_class"), "map needs storage_class_map")
    if preserve.storage_class_map and preserve.storage_class != "map":
        said.say(("preserve", "storage_class_map"), "has no effect; set storage_class: map")
    if preserve.acl_grantees and not preserve.acl:
        said.say(("preserve", "acl_grantees"), "has no effect; set acl: true")
    encryption = preserve.encryption
    if encryption.get("mode") == "sse-kms" and not (encryption.get("key") or encryption.get("key_map")):
        said.say(("preserve", "encryption"), "sse-kms needs key or key_map")
    if encryption.get("mode") in (None, "sse-s3") and (encryption.get("key") or encryption.get("key_map")):
        said.say(("preserve", "encryption"), "key and key_map have an effect only with mode: sse-kms or keep")
    if policy.versions == "all" and policy.delete_extraneous != "never":
        said.say(("policy", "delete_extraneous"), "works on current versions only; use versions: latest")


def _check_manifests(manifests: str, said: Complaints) -> None:
    if manifests.startswith("s3://"):
        if not re.fullmatch(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{0,254}(?:/[^\x00-\x1f]*)?", manifests):
            said.say(("manifests",), "must be s3://bucket/prefix")
    elif not is_folder_beside(manifests):
        said.say(("manifests",), "must be a folder beside the plan (no absolute path, no ..), or s3://bucket/prefix")


def is_folder_beside(name: str) -> bool:
    """Whether *name* is a relative folder that does not leave the one it is relative to."""
    path = PurePosixPath(name)
    return (
        not path.is_absolute()
        and ".." not in path.parts
        and "\0" not in name
        and "://" not in name
        and bool(path.parts)
    )
