"""Probe every pair's ends and choose how its objects travel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from planner.losses import Ends, find_losses
from s3migrate.wiring import endpoint_name, probe_token
from schema.declaration import Declaration, Pair, Side
from schema.errors import DeclarationError, StoreError
from schema.objects import ListedObject
from schema.plan import Capabilities, Loss
from schema.storage_classes import STANDARD, target_storage_class
from storage.open_store import open_store
from storage.port import ObjectStore
from storage.probe import probe_destination, survey_source

SERVER_COPY = "server-copy"
Method = tuple[str, str]
"""(stream | server-copy, why)"""


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of a pair before it is planned."""

    source: Capabilities
    destination: Capabilities
    losses: tuple[Loss, ...]
    method: Method


def probe_pairs(
    declaration: Declaration,
    stores: Mapping[str, tuple[ObjectStore, ObjectStore]],
    samples: Mapping[str, Sequence[ListedObject]],
) -> dict[str, Probed]:
    """Every pair probed; canaries are written at the destinations and removed. Raises StoreErrors."""
    return {pair.id: _probe(declaration, pair, *stores[pair.id], samples[pair.id]) for pair in declaration.pairs}


def _probe(
    declaration: Declaration, pair: Pair, source: ObjectStore, destination: ObjectStore, sample: Sequence[ListedObject]
) -> Probed:
    preserve = declaration.preserve
    method = choose_method(declaration, pair, destination_reads(pair, sample))
    source_facts, sampled = survey_source(source, sample, tags=preserve.tags, acl=preserve.acl)
    classes = sorted({target_storage_class(listed.storage_class, preserve) for listed in sample} - {STANDARD})
    destination_facts = probe_destination(
        destination,
        pair.destination.prefix,
        token=probe_token(declaration),
        storage_classes=classes,
        acl=preserve.acl,
        server_copy=method[0] == "server-copy",
    )
    method = settle_method(declaration, pair, method, destination_facts)
    ends = Ends(preserve, source_facts, destination_facts, sampled, all_versions=declaration.policy.versions == "all")
    losses = find_losses(ends, declaration.accept_loss)
    return Probed(source_facts, destination_facts, losses, method)


def choose_method(declaration: Declaration, pair: Pair, may_read: Callable[[], str]) -> Method:
    """How the pair's objects travel, and why.

    *may_read* says why the destination's credentials may not read the source, '' when they may; it is asked only
    when all else speaks for a server-side copy. Raises DeclarationError where the declaration insists on one.
    """
    if declaration.policy.transfer == "stream":
        return "stream", "policy.transfer is stream"
    obstacle = _obstacle(pair) or may_read()
    if not obstacle:
        return SERVER_COPY, f"both sides are at {endpoint_name(pair.destination)}, which copies by itself"
    return _streamed(declaration, pair, obstacle)


def settle_method(declaration: Declaration, pair: Pair, method: Method, destination: Capabilities) -> Method:
    """*method* after the probe: an endpoint that refuses CopyObject gets its objects streamed."""
    copies = [destination.facts.get(name) for name in ("copy_source_if_match", "copy_if_none_match")]
    if method[0] == SERVER_COPY and copies == ["rejected", "rejected"]:
        return _streamed(declaration, pair, "the endpoint refuses CopyObject")
    if method[0] == SERVER_COPY and destination.facts.get("copy_metadata") in ("ignored", "rejected"):
        return _streamed(declaration, pair, "the endpoint's copies do not carry exactly the metadata they are given")
    return method


def destination_reads(pair: Pair, sample: Sequence[ListedObject]) -> Callable[[], str]:
    """For choose_method: the same reference to credentials reads the same, any other has to show it by one HEAD."""

    def ask() -> str:
        if pair.source.credentials == pair.destination.credentials:
            return ""
        if not sample:
            return "the source is empty, so nothing shows that the destination's credentials may read it"
        store = open_store(replace(pair.destination, bucket=pair.source.bucket, prefix=""))
        try:
            store.head(sample[0].key)
        except StoreError as error:
            return f"the destination's credentials may not read the source: {error}"
        finally:
            store.close()
        return ""

    return ask


def _obstacle(pair: Pair) -> str:
    """What speaks against a server-side copy before anything is asked; '' for nothing."""
    source, destination = pair.source, pair.destination
    if _address(source) != _address(destination):
        return "the two sides are different endpoints"
    if source.sse_customer_key_env is not None:
        return "the source is encrypted with a customer's key, which the endpoint would have to be given for each copy"
    if source.requester_pays and not destination.requester_pays:
        return "the source's requester pays, and the destination's requests do not say that they will"
    return ""


def _address(side: Side) -> tuple[str, str]:
    """Equal for the same endpoint. Copies between AWS regions are slow and fail late, so the region counts there."""
    if side.endpoint_url is None:
        return "aws", side.region
    parts = urlsplit(side.endpoint_url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return f"{parts.hostname}:{port}", parts.path.rstrip("/")


def _streamed(declaration: Declaration, pair: Pair, obstacle: str) -> Method:
    if declaration.policy.transfer == SERVER_COPY:
        raise DeclarationError(
            f"{pair.id}: policy.transfer is server-copy, but {obstacle}; declare transfer: auto or stream"
        )
    return "stream", obstacle
