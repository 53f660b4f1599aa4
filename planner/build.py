"""Declaration + two listings of every pair -> plan document + manifests."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from planner.batches import named
from planner.inputs import PairInputs, PlanInputs
from planner.lineage import lineage_of, refuse_manifests_inside
from planner.review.calibration import UNMEASURED, Calibrated, measured_in
from planner.review.cost import SectionWork
from planner.review.estimate import estimate
from planner.review.expectations import refuse_unexpected
from planner.review.losses import with_uncut
from planner.review.overview import overview_of
from planner.review.risks import risks_of
from planner.review.workload import ClassWork, tier_rows, with_all_proven, with_tags_asked, work_by_tier
from planner.section import SectionOutcome, SectionPlanner
from planner.stages import ORDER, stages_for
from schema.declaration import Pair, Preserve
from schema.errors import StalePlan
from schema.facts import Fact
from schema.files.plan_document import with_plan_id
from schema.plan import DELETES, Plan, Section
from schema.tiers import TIERS


def build_plan(inputs: PlanInputs) -> Plan:
    """List both sides of every pair, decide, publish the manifests, and give the plan that names them.

    Deterministic: the same declaration, listings, probes, memory and base give the same plan and manifests. Without
    a base the serial is 1; with one it is the base's when nothing but provenance differs (then the base itself is
    returned), else one more. Memory does not grow with the number of objects.

    Raises what the listings raise (no plan and no temporary file is left; manifests finished by then stay in the
    store under their digests and do no harm), DeclarationError (colliding keys, bad globs or rules, an object that
    cannot travel as declared; ends that overlap were refused with the declaration), StalePlan when the base is of
    another lineage, Unexpected when the plan is not what the declaration expects, LocalDiskError.
    """
    declaration, base = inputs.declaration, inputs.base
    refuse_manifests_inside(declaration.manifests, declaration.pairs)
    lineage = lineage_of(declaration)
    if base is not None and base.lineage != lineage:
        raise StalePlan(
            f"the base plan is of another migration ({base.name}, lineage {base.lineage}); name and ends of this "
            f"declaration give lineage {lineage}. Plan without --base, or with a plan of this migration"
        )
    outcomes = [SectionPlanner(pair, inputs).plan() for pair in declaration.pairs]
    plan = _assembled(outcomes, inputs, lineage, measured=inputs.measured)
    if base is not None:
        # No two probes take the same milliseconds: what they took then is as good, and a plan that says the same stays.
        before = _assembled(outcomes, inputs, lineage, measured=measured_in(base.estimate))
        plan = base if with_plan_id(dataclasses.replace(before, serial=base.serial)).plan_id == base.plan_id else plan
    refuse_unexpected(plan, declaration.expect)
    return plan if plan is base else _numbered(plan, base)


def _assembled(
    outcomes: Sequence[SectionOutcome],
    inputs: PlanInputs,
    lineage: str,
    *,
    measured: Calibrated,
) -> Plan:
    declaration, budget = inputs.declaration, inputs.budget
    sections = tuple(
        _section(pair, inputs.pairs[pair.id], outcome, accepted=declaration.accept_loss)
        for pair, outcome in zip(declaration.pairs, outcomes, strict=True)
    )
    order = {tier.name: position for position, tier in enumerate(TIERS)}
    places = {pair.id: position for position, pair in enumerate(declaration.pairs)}
    drafts = sorted(
        (draft for outcome in outcomes for draft in outcome.delivered.drafts),
        key=lambda draft: (
            ORDER.index(draft.stage), places[draft.section], order.get(draft.tier, len(order)), draft.manifest.first_key
        ),
    )  # fmt: skip
    tiers = work_by_tier(drafts, [outcome.delivered.parts for outcome in outcomes])
    work = [
        SectionWork(
            section,
            _classes(section, outcome, declaration.preserve, deleting=DELETES in tiers),
            outcome.delivered.largest,
            outcome.unclear_order,
            outcome.remarks,
            measured.pairs.get(section.id, UNMEASURED),
        )
        for section, outcome in zip(sections, outcomes, strict=True)
    ]
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
        memory_budget=budget,
        sections=sections,
        tiers=tier_rows(tiers, budget),
        risks=risks_of(work, declaration, budget=budget),
        estimate=estimate(tiers, work, declaration, budget=budget, measured=measured),
        stages=stages_for({draft.stage for draft in drafts}),
        batches=named(drafts),
        manifest_store=declaration.manifests,
        overview=overview_of(
            [outcome.delivered.overview for outcome in outcomes], [outcome.delivered.classes for outcome in outcomes]
        ),
        provenance=inputs.provenance,
    )


def _classes(
    section: Section, outcome: SectionOutcome, preserve: Preserve, *, deleting: bool
) -> Mapping[str, ClassWork]:
    classes = with_all_proven(outcome.delivered.classes) if deleting else outcome.delivered.classes
    asked = preserve.tags and section.source_capabilities.denies(Fact.TAG_COUNT)
    return with_tags_asked(classes) if asked else classes


def _section(pair: Pair, inputs: PairInputs, outcome: SectionOutcome, *, accepted: Collection[str]) -> Section:
    return Section(
        id=pair.id,
        source=pair.source,
        destination=pair.destination,
        source_inventory=outcome.source_inventory,
        destination_inventory=outcome.destination_inventory,
        source_capabilities=inputs.source_can,
        destination_capabilities=inputs.destination_can,
        methods=inputs.choice.reasons({draft.method for draft in outcome.delivered.drafts}),
        summary=outcome.summary,
        side_manifests=outcome.delivered.side_manifests,
        losses=with_uncut(inputs.losses, outcome.delivered.uncut, inputs.destination_can.most_parts, accepted=accepted),
        mapping_examples=outcome.mapping_examples,
    )


def _numbered(plan: Plan, base: Plan | None) -> Plan:
    """*plan*, which is not *base*, with its serial and plan_id."""
    return with_plan_id(plan if base is None else dataclasses.replace(plan, serial=base.serial + 1))
