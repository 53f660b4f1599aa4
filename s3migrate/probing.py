"""Probe every pair's ends and choose how its objects travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.losses import Ends, find_losses
from s3migrate.wiring import probe_token
from schema.declaration import Declaration, Pair
from schema.objects import ListedObject
from schema.plan import Capabilities, Loss
from schema.storage_classes import STANDARD, target_storage_class
from storage.port import ObjectStore
from storage.probe import probe_destination, survey_source


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of a pair before it is planned."""

    source: Capabilities
    destination: Capabilities
    losses: tuple[Loss, ...]
    method: tuple[str, str]
    """(stream | server-copy, why)"""


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
    source_facts, sampled = survey_source(source, sample, tags=preserve.tags, acl=preserve.acl)
    classes = sorted({target_storage_class(listed.storage_class, preserve) for listed in sample} - {STANDARD})
    method = choose_method(declaration, pair)
    destination_facts = probe_destination(
        destination,
        pair.destination.prefix,
        token=probe_token(declaration),
        storage_classes=classes,
        acl=preserve.acl,
        server_copy=method[0] == "server-copy",
    )
    ends = Ends(
        preserve, source_facts, destination_facts, sampled, all_versions=declaration.policy.versions == "all"
    )
    losses = find_losses(ends, declaration.accept_loss)
    return Probed(source_facts, destination_facts, losses, method)


def choose_method(declaration: Declaration, pair: Pair) -> tuple[str, str]:
    """How the pair's objects travel, and why."""
    return "stream", "the two sides are different endpoints"
