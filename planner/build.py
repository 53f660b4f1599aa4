"""Declaration + two inventories -> plan document + manifests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.batches import TARGETS, named, sticky_cuts
from planner.cost import SectionWork
from planner.decide import end_facts
from planner.estimate import estimate
from planner.lineage import lineage_of, refuse_manifests_inside
from planner.march import Completion
from planner.methods import STREAMED, MethodChoice
from planner.risks import risks_of
from planner.section import PlanProgress, SectionInputs, SectionOutcome, SectionPlanner, SectionStores
from planner.stages import ORDER, stages_for
from planner.workload import tier_rows, work_by_tier
from schema.declaration import Declaration, Pair
from schema.errors import StalePlan
from schema.facts import Capabilities
from schema.manifest import ManifestStore
from schema.plan import Loss, Plan, Section
from schema.plan_document import with_plan_id
from schema.tiers import TIERS

__all__ = ["CompletedBefore", "PlanProgress", "SectionStores", "build_plan", "nothing_completed"]

CompletedBefore = Callable[[str], Iterator[Completion]]
"""Section id -> (destination key, source ETag, destination ETag) of what this lineage has copied into the section,
ascending by destination key; a key may come several times."""


def nothing_completed(_section: str) -> Iterator[Completion]:
    """The memory of a lineage that has copied nothing."""
    return iter(())


@dataclass(frozen=True, slots=True)
class _Context:
    """The arguments of build_plan that every section needs."""

    declaration: Declaration
    stores: Mapping[str, SectionStores]
    manifests: ManifestStore
    staging: Path
    base: Plan | None
    capabilities: Mapping[str, tuple[Capabilities, Capabilities]]
    losses: Mapping[str, tuple[Loss, ...]]
    methods: Mapping[str, MethodChoice]
    memory: CompletedBefore
    budget: int
    targets: Mapping[str, int]
    on_progress: Callable[[PlanProgress], None]
    parallel_listing: int


def build_plan(
    declaration: Declaration,
    stores: Mapping[str, SectionStores],
    *,
    manifests: ManifestStore,
    staging: Path,
    base: Plan | None = None,
    capabilities: Mapping[str, tuple[Capabilities, Capabilities]],
    losses: Mapping[str, tuple[Loss, ...]],
    methods: Mapping[str, MethodChoice],
    memory: CompletedBefore = nothing_completed,
    budget: int,
    manifest_store_name: str,
    provenance: Mapping[str, Any],
    on_progress: Callable[[PlanProgress], None] = lambda _progress: None,
    parallel_listing: int = 1,
    targets: Mapping[str, int] = TARGETS,
) -> Plan:
    """List both sides of every pair, decide, publish the manifests, and give the plan that names them.

    Deterministic: the same declaration, listings, probes, memory and base give the same plan and manifests. Without
    a base the serial is 1; with one it is the base's when nothing but provenance differs (then the base itself is
    returned), else one more. Maps are by pair id; a pair without probe, loss or method counts as unknown, none and
    stream. Memory does not grow with the number of objects.

    Raises what the listings raise (no plan and no temporary file is left; manifests finished by then stay in the
    store under their digests and do no harm), DeclarationError (colliding keys, bad globs or rules, an object that
    cannot travel as declared; ends that overlap were refused with the declaration), StalePlan when *base* is of
    another lineage, LocalDiskError.
    """
    refuse_manifests_inside(manifest_store_name, declaration.pairs)
    lineage = lineage_of(declaration)
    if base is not None and base.lineage != lineage:
        raise StalePlan(
            f"the base plan is of another migration ({base.name}, lineage {base.lineage}); name and ends of this "
            f"declaration give lineage {lineage}. Plan without --base, or with a plan of this migration"
        )
    context = _Context(
        declaration, stores, manifests, staging, base, capabilities, losses, methods, memory, budget, targets,
        on_progress, parallel_listing,
    )  # fmt: skip
    outcomes = [(pair, _plan_section(pair, context)) for pair in declaration.pairs]
    plan = _assembled(outcomes, context, lineage)
    plan = dataclasses.replace(plan, manifest_store=manifest_store_name, provenance=provenance)
    return _numbered(plan, base)


def _plan_section(pair: Pair, context: _Context) -> SectionOutcome:
    source_can, destination_can = _capabilities(pair, context)
    inputs = SectionInputs(
        declaration=context.declaration,
        pair=pair,
        facts=end_facts(pair.source, pair.destination, source_can, destination_can),
        source_capabilities=source_can,
        destination_capabilities=destination_can,
        manifests=context.manifests,
        staging=context.staging,
        choice=context.methods.get(pair.id, STREAMED),
        completions=context.memory(pair.id),
        sticky=sticky_cuts(() if context.base is None else context.base.batches),
        targets=context.targets,
        budget=context.budget,
        on_progress=context.on_progress,
        parallel_listing=context.parallel_listing,
    )
    return SectionPlanner(inputs, context.stores[pair.id]).plan()


def _capabilities(pair: Pair, context: _Context) -> tuple[Capabilities, Capabilities]:
    return context.capabilities.get(pair.id, (Capabilities(), Capabilities()))


def _assembled(outcomes: list[tuple[Pair, SectionOutcome]], context: _Context, lineage: str) -> Plan:
    declaration = context.declaration
    sections = tuple(_section(pair, outcome, context) for pair, outcome in outcomes)
    order = {tier.name: position for position, tier in enumerate(TIERS)}
    places = {pair.id: position for position, pair in enumerate(declaration.pairs)}
    drafts = sorted(
        (draft for _, outcome in outcomes for draft in outcome.delivered.drafts),
        key=lambda draft: (
            ORDER.index(draft.stage), places[draft.section], order.get(draft.tier, len(order)), draft.manifest.first_key
        ),
    )  # fmt: skip
    work = work_by_tier(drafts, [outcome.delivered.parts for _, outcome in outcomes])
    largest = [outcome.delivered.largest for _, outcome in outcomes]
    carried = [
        SectionWork(section, outcome.delivered.classes)
        for section, (_, outcome) in zip(sections, outcomes, strict=True)
    ]
    most = max(each.size for each in largest)
    return Plan(
        plan_id="",
        name=declaration.name,
        lineage=lineage,
        serial=1,
        declaration_sha256=declaration.sha256,
        filters=declaration.filters,
        policy=declaration.policy,
        preserve=declaration.preserve,
        limits=declaration.limits,
        timeouts=declaration.timeouts,
        guards=declaration.guards,
        memory_budget=context.budget,
        sections=sections,
        tiers=tier_rows(work, context.budget),
        risks=risks_of(
            sections,
            declaration.policy,
            largest,
            context.budget,
            declaration.preserve,
            [item.classes for item in carried],
            [outcome.unclear_order for _, outcome in outcomes],
        ),
        estimate=estimate(
            work, carried, declaration.limits, declaration.preserve, context.budget, most, declaration.policy
        ),
        stages=stages_for({draft.stage for draft in drafts}),
        batches=named(drafts),
        manifest_store="",
    )


def _section(pair: Pair, outcome: SectionOutcome, context: _Context) -> Section:
    source_can, destination_can = _capabilities(pair, context)
    choice = context.methods.get(pair.id, STREAMED)
    return Section(
        id=pair.id,
        source=pair.source,
        destination=pair.destination,
        source_inventory=outcome.source_inventory,
        destination_inventory=outcome.destination_inventory,
        source_capabilities=source_can,
        destination_capabilities=destination_can,
        methods=choice.reasons({draft.method for draft in outcome.delivered.drafts}),
        summary=outcome.summary,
        side_manifests=outcome.delivered.side_manifests,
        losses=context.losses.get(pair.id, ()),
        mapping_examples=outcome.mapping_examples,
    )


def _numbered(plan: Plan, base: Plan | None) -> Plan:
    """*plan* with its serial and plan_id; *base* itself when nothing but provenance differs."""
    if base is None:
        return with_plan_id(plan)
    same = with_plan_id(dataclasses.replace(plan, serial=base.serial))
    if same.plan_id == base.plan_id:
        return base
    return with_plan_id(dataclasses.replace(plan, serial=base.serial + 1))
