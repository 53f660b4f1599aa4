"""Probe every pair's ends and choose how its objects travel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from planner.losses import find_losses
from planner.methods import MethodChoice
from s3migrate.wiring import probe_token
from schema.attributes.evidence import Evidence
from schema.declaration import Declaration, Pair, Preserve
from schema.ends import endpoint_of
from schema.errors import DeclarationError, StoreError
from schema.facts import Capabilities, Fact, Finding
from schema.objects import ListedObject, supported
from schema.plan import Loss, Method
from schema.quantities import size_text
from schema.storage_classes import STANDARD, target_storage_class
from schema.tiers import MAX_PART
from schema.timeouts import Timeouts
from storage.open_store import open_store
from storage.port import ObjectStore
from storage.probe.destination import Questions, probe_destination
from storage.probe.source import survey_source

SAMPLED = 200
"""Of the current objects as of the older versions; the probe looks at sixteen of them."""
LISTED_FOR_OLDER = 1000
"""Versions listed at most to find older ones: a page."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of a pair before it is planned."""

    source: Capabilities
    destination: Capabilities
    losses: tuple[Loss, ...]
    choice: MethodChoice


def sample_of(store: ObjectStore, prefix: str, all_versions: bool) -> tuple[ListedObject, ...]:
    """The first objects of a source, and where all versions travel the first older ones too: what these carry (a
    retention, tags, a class) may be lost as well. Raises StoreErrors; an endpoint that lists no versions shows none.
    """
    current = tuple(islice(supported(store.list_objects(prefix)), SAMPLED))
    if not all_versions:
        return current
    try:
        listed = list(islice(supported(store.list_versions(prefix)), LISTED_FOR_OLDER))
    except StoreError:
        return current  # the plan's own listing tells what it means
    older = (version for version in listed if not version.is_latest and not version.delete_marker)
    return (*current, *islice(older, SAMPLED))


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
    choice = choose_method(declaration, pair, destination_reads(pair, sample, declaration.timeouts))
    source_facts, sampled = survey_source(source, sample, tags=preserve.tags, acl=preserve.acl)
    classes = sorted({target_storage_class(listed.storage_class, preserve) for listed in sample} - {STANDARD})
    destination_facts = probe_destination(
        destination,
        pair.destination.prefix,
        Questions(classes, acl=preserve.acl, server_copy=choice.method is Method.SERVER_COPY),
        token=probe_token(declaration),
    )
    choice = settle_method(declaration, pair, choice, destination_facts)
    versions = declaration.policy.versions == "all"
    evidence = Evidence(preserve, source_facts, destination_facts, sampled, all_versions=versions)
    losses = find_losses(evidence, declaration.accept_loss)
    return Probed(source_facts, destination_facts, losses, choice)


def choose_method(declaration: Declaration, pair: Pair, may_read: Callable[[], str]) -> MethodChoice:
    """How the pair's objects travel, and why.

    *may_read* says why the destination's credentials may not read the source, '' when they may; it is asked only
    when all else speaks for a server-side copy. Raises DeclarationError where the declaration insists on one.
    """
    if declaration.policy.transfer == Method.STREAM:
        return MethodChoice(Method.STREAM, "policy.transfer is stream")
    obstacle = _obstacle(pair) or may_read()
    if not obstacle:
        why = f"both sides are at {endpoint_of(pair.destination)}, which copies by itself"
        return MethodChoice(Method.SERVER_COPY, why, insisted=_insists(declaration))
    return _streamed(declaration, pair, obstacle)


def settle_method(
    declaration: Declaration, pair: Pair, choice: MethodChoice, destination: Capabilities
) -> MethodChoice:
    """*choice* after the probe: an endpoint gets streamed what it was seen not to copy well by itself.

    That is everything where CopyObject fails, and only what needs parts where UploadPartCopy does.
    """
    if choice.method is not Method.SERVER_COPY:
        return choice
    if destination.rejects(Fact.COPY_SOURCE_IF_MATCH) and destination.rejects(Fact.COPY_IF_NONE_MATCH):
        return _streamed(declaration, pair, "the endpoint refuses CopyObject")
    if destination.denies(Fact.COPY_METADATA):
        return _streamed(declaration, pair, "the endpoint's copies do not carry exactly the metadata they are given")
    found = destination.finding(Fact.PART_COPY)
    failing = _PART_COPY_FAILS.get(found) if found else None
    return replace(choice, parts_reason=f"{failing}, {_who_needs_parts(declaration.preserve)}") if failing else choice


_PART_COPY_FAILS: Mapping[Finding, str] = {
    Finding.REJECTED: "the endpoint refuses UploadPartCopy",
    Finding.IGNORED: "the endpoint's UploadPartCopy does not bring the bytes it is asked for",
    Finding.UNKNOWN: "the endpoint gave the probe no usable answer to UploadPartCopy",
}


def _who_needs_parts(preserve: Preserve) -> str:
    kept = " and objects whose part layout is kept" if preserve.part_layout else ""
    return f"which objects above {size_text(MAX_PART)}{kept} need"


def destination_reads(pair: Pair, sample: Sequence[ListedObject], timeouts: Timeouts) -> Callable[[], str]:
    """For choose_method: the same reference to credentials reads the same, any other has to show it by one HEAD."""

    def ask() -> str:
        if pair.source.credentials == pair.destination.credentials:
            return ""
        if not sample:
            return "the source is empty, so nothing shows that the destination's credentials may read it"
        store = open_store(replace(pair.destination, bucket=pair.source.bucket, prefix=""), timeouts=timeouts)
        try:
            store.head(sample[0].key, version_id=sample[0].version_id)
        except StoreError as error:
            return f"the destination's credentials may not read the source: {error}"
        finally:
            store.close()
        return ""

    return ask


def _obstacle(pair: Pair) -> str:
    """What speaks against a server-side copy before anything is asked; '' for nothing."""
    source, destination = pair.source, pair.destination
    if endpoint_of(source) != endpoint_of(destination):
        return "the two sides are different endpoints"
    if source.sse_customer_key_env is not None:
        return "the source is encrypted with a customer's key, which the endpoint would have to be given for each copy"
    if destination.sse_customer_key_env is not None:
        return "the destination is encrypted with a customer's key, under which no copy is tried"
    if source.requester_pays and not destination.requester_pays:
        return "the source's requester pays, and the destination's requests do not say that they will"
    return ""


def _insists(declaration: Declaration) -> bool:
    return declaration.policy.transfer == Method.SERVER_COPY


def _streamed(declaration: Declaration, pair: Pair, obstacle: str) -> MethodChoice:
    if _insists(declaration):
        raise DeclarationError(
            f"{pair.id}: policy.transfer is server-copy, but {obstacle}; declare transfer: auto or stream"
        )
    return MethodChoice(Method.STREAM, obstacle)
