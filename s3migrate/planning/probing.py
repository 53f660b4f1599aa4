"""Probes the two ends of a pair for what planning needs to know."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlsplit

from executor.machine.memory import memory_limit
from executor.machine.processor import usable_cores
from planner.inputs import PairInputs
from planner.methods import choose_method, settle_method
from planner.review.calibration import Calibration, PlanningMachine
from planner.review.losses import find_losses
from planner.stages import exercising
from s3migrate.planning.checkpoints import ListingCheckpoints
from s3migrate.planning.inventories import InventoryReader
from s3migrate.planning.listings import ListingWishes, source_of
from s3migrate.wiring import probe_token
from schema.attributes.evidence import Evidence
from schema.attributes.protection import carried_by_all
from schema.declaration import Declaration, Pair, Side
from schema.ends import endpoint_of
from schema.errors import StoreError
from schema.facts import Capabilities, Fact, Finding
from schema.objects import ListedObject
from schema.plan import Method
from schema.storage_classes import STANDARD, target_storage_class
from schema.timeouts import Timeouts
from storage.open_store import open_store
from storage.port import Believe, ObjectStore, believing
from storage.probe.destination import Questions, probe_destination
from storage.probe.processor import md5_us
from storage.probe.sample import sample_of
from storage.probe.source import survey_source
from storage.probe.timing import Timing


class ListingTerms(NamedTuple):
    """How the sides of a plan are to be listed."""

    parallel: int
    """LIST requests in flight per side."""
    believe: Believe
    """What is believed of the source's listings."""
    inventories: InventoryReader
    timings: Mapping[str, Timing]
    """Durations of the requests so far, by endpoint."""
    checkpoints: ListingCheckpoints


def probe_pair(
    declaration: Declaration, pair: Pair, stores: tuple[ObjectStore, ObjectStore], *, terms: ListingTerms
) -> PairInputs:
    """What planning needs to know about *pair*; canaries are written at the destination and removed.

    Raises StoreErrors, and what InventoryReader.source raises.
    """
    source, destination = stores
    preserve, all_versions = declaration.preserve, declaration.policy.versions == "all"
    sample = sample_of(source, pair.source.prefix, all_versions)
    choice = choose_method(declaration, pair, destination_reads(pair, sample, declaration.timeouts))
    source_can, sampled = survey_source(source, sample, preserve)
    classes = sorted({target_storage_class(listed.storage_class, preserve) for listed in sample} - {STANDARD})
    customer_key = pair.destination.sse_customer_key_env is not None
    with other_ways(pair.destination, declaration.timeouts) as others:
        destination_can = probe_destination(
            destination,
            pair.destination.prefix,
            Questions(
                classes,
                acl=preserve.acl,
                server_copy=choice.method is Method.SERVER_COPY,
                carried=() if customer_key else carried_by_all(preserve, [found.head for found in sampled]),
                other_ways=others,
            ),
            token=probe_token(declaration),
        )
    source_can = as_declared(source_can, pair.source)
    destination_can = as_declared(destination_can, pair.destination)
    evidence = Evidence(preserve, source_can, destination_can, sampled, all_versions=all_versions)
    source_can = believing(source_can, terms.believe)
    wishes = ListingWishes(
        "source",
        source_can,
        all_versions,
        terms.parallel,
        pair.source_inventory,
        terms.inventories,
        section=pair.id,
        checkpoints=terms.checkpoints,
    )
    there = wishes._replace(end="destination", can=destination_can, inventory=pair.destination_inventory)
    return PairInputs(
        source_of(source, pair.source, wishes),
        source_of(destination, pair.destination, there),
        source_can,
        destination_can,
        losses=find_losses(evidence, declaration.accept_loss),
        choice=settle_method(declaration, pair, choice, destination=destination_can),
        canary=exercising(sample, sampled),
        calibration=calibration_of(pair, terms.timings),
    )


def calibration_of(pair: Pair, timings: Mapping[str, Timing]) -> Calibration:
    """How long reads at the pair's source and writes at its destination took."""
    source, destination = timings.get(endpoint_of(pair.source)), timings.get(endpoint_of(pair.destination))
    return Calibration(
        None if source is None else source.read_us,
        None if destination is None else destination.write_us,
        sum(map(is_here, (pair.source, pair.destination))),
        sum(not (side.endpoint_url or "").startswith("http:") for side in (pair.source, pair.destination)),
    )


def is_here(side: Side) -> bool:
    """Whether this machine serves *side*: only a machine's own address can be bound."""
    host = urlsplit(side.endpoint_url or "").hostname
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM) if host else []
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.bind((found[0][4][0], 0))
    except (OSError, IndexError):
        return False
    return True


def this_machine(host: str) -> PlanningMachine:
    """What this machine has, and how fast its processor is now."""
    return PlanningMachine(host, usable_cores(), memory_limit().bytes, md5_us())


@contextmanager
def other_ways(side: Side, timeouts: Timeouts) -> Iterator[list[tuple[str, ObjectStore]]]:
    """Stores of the other endpoints declared for *side*, by URL."""
    with ExitStack() as cleanup:
        opened: list[tuple[str, ObjectStore]] = []
        for url in side.endpoint_candidates:
            if url != side.endpoint_url:
                store = open_store(replace(side, endpoint_url=url), timeouts=timeouts)
                cleanup.callback(store.close)
                opened.append((url, store))
        yield opened


def as_declared(found: Capabilities, side: Side) -> Capabilities:
    """What was *found* of a side, except where its declaration says otherwise."""
    if not side.etags_opaque:
        return found
    opaque = dict.fromkeys((Fact.ETAG_IS_MD5, Fact.MULTIPART_ETAG), Finding.IGNORED.value)
    return Capabilities(dict(sorted({**found.facts, **{str(fact): seen for fact, seen in opaque.items()}}.items())))


def destination_reads(pair: Pair, sample: Sequence[ListedObject], timeouts: Timeouts) -> Callable[[], str]:
    """For choose_method: "" when the destination's credentials may read the source, else why that is not known.

    Equal credentials may; others have to prove it with a HEAD.
    """

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
