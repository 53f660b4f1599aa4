"""Ask the two ends of a pair what planning needs to know of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from planner.inputs import PairInputs
from planner.losses import find_losses
from planner.methods import choose_method, settle_method
from s3migrate.planning.listings import ListingWishes, source_of
from s3migrate.wiring import probe_token
from schema.attributes.evidence import Evidence
from schema.declaration import Declaration, Pair
from schema.errors import StoreError
from schema.objects import ListedObject, supported
from schema.plan import Method
from schema.storage_classes import STANDARD, target_storage_class
from schema.timeouts import Timeouts
from storage.open_store import open_store
from storage.port import Believe, ObjectStore, believing
from storage.probe.destination import Questions, probe_destination
from storage.probe.source import survey_source

SAMPLED = 200
"""Of the current objects as of the older versions; the probe looks at sixteen of them."""
LISTED_FOR_OLDER = 1000
"""Versions listed at most to find older ones: a page."""


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


def probe_pair(
    declaration: Declaration, pair: Pair, stores: tuple[ObjectStore, ObjectStore], *, parallel: int, believe: Believe
) -> PairInputs:
    """What planning needs to know of *pair*; canaries are written at the destination and removed. Raises StoreErrors.

    *parallel*: LIST requests at a time while planning; *believe*: of the source's listings.
    """
    source, destination = stores
    preserve, all_versions = declaration.preserve, declaration.policy.versions == "all"
    sample = sample_of(source, pair.source.prefix, all_versions)
    choice = choose_method(declaration, pair, destination_reads(pair, sample, declaration.timeouts))
    source_can, sampled = survey_source(source, sample, tags=preserve.tags, acl=preserve.acl)
    classes = sorted({target_storage_class(listed.storage_class, preserve) for listed in sample} - {STANDARD})
    destination_can = probe_destination(
        destination,
        pair.destination.prefix,
        Questions(classes, acl=preserve.acl, server_copy=choice.method is Method.SERVER_COPY),
        token=probe_token(declaration),
    )
    evidence = Evidence(preserve, source_can, destination_can, sampled, all_versions=all_versions)
    source_can = believing(source_can, believe)
    wishes = ListingWishes("source", source_can, all_versions, parallel)
    return PairInputs(
        source_of(source, pair.source, wishes),
        source_of(destination, pair.destination, wishes._replace(end="destination", can=destination_can)),
        source_can,
        destination_can,
        losses=find_losses(evidence, declaration.accept_loss),
        choice=settle_method(declaration, pair, choice, destination=destination_can),
    )


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
