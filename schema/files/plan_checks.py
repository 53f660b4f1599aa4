"""What makes a plan acceptable: its name, its sums, its stages and its references. All offline and without manifests.

Each check raises PlanCorrupt with a sentence that says what does not hold; guards are checked separately
(check_guards), because a plan that does too much is a valid document that must not be applied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from schema.errors import GuardExceeded, PlanCorrupt
from schema.files.declaration_checks import is_folder_beside
from schema.files.plan_document import compute_plan_id
from schema.formats.quantities import count_text, counted_text, size_text
from schema.formats.validation import complaints
from schema.formats.yaml_strict import Lines
from schema.plan import DELETES, SOURCE_ACTIONS, TRANSFER_ACTIONS, Action, Plan, Section, Tally

SIDE_ACTIONS = (Action.SKIP, Action.CONFLICT, Action.UNSUPPORTED, Action.EXCLUDED, Action.EXTRANEOUS)
_ADVICE = "It was edited or cut: restore it, or plan again"


def check_shape(document: Mapping[str, Any], lines: Lines) -> None:
    """PlanCorrupt with everything the JSON Schema finds wrong with *document*."""
    found = complaints("plan-v1.schema.json", document, lines)
    if found:
        raise PlanCorrupt("\n".join(found) + f"\n{_ADVICE}")


def check_content(document: Mapping[str, Any], plan: Plan, lines: Lines) -> None:
    """What a schema cannot say: the plan_id, references, stages and sums. Raises PlanCorrupt."""
    _check_plan_id(document, plan, lines)
    _check_store(plan, lines)
    _check_names(plan, lines)
    _check_stages(plan, lines)
    _check_methods(plan, lines)
    for section in plan.sections:
        _check_sums(plan, section, lines)


def _check_plan_id(document: Mapping[str, Any], plan: Plan, lines: Lines) -> None:
    try:
        computed = compute_plan_id(document)
    except (TypeError, ValueError) as error:
        raise PlanCorrupt(f"{lines.source}: {error}. {_ADVICE}") from None
    if computed != plan.plan_id:
        raise PlanCorrupt(
            f"{lines.where(('plan_id',))}: plan_id is {plan.plan_id}, but the content is that of {computed}. {_ADVICE}"
        )


def _check_store(plan: Plan, lines: Lines) -> None:
    """A plan from elsewhere must not make us read outside its own folder."""
    if not plan.manifest_store.startswith("s3://") and not is_folder_beside(plan.manifest_store):
        where = lines.where(("manifest_store",))
        raise PlanCorrupt(f"{where}: manifest_store must be a folder beside the plan or s3://bucket/prefix. {_ADVICE}")


def _check_names(plan: Plan, lines: Lines) -> None:
    """Sections, stages, tiers and batches are named once, and every reference has its target."""
    sections = [section.id for section in plan.sections]
    stages = [stage.id for stage in plan.stages]
    tiers = [str(tier.get("tier", "")) for tier in plan.tiers]
    batches = [batch.id for batch in plan.batches]
    for what, names in (("section", sections), ("stage", stages), ("tier", tiers), ("batch", batches)):
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise PlanCorrupt(f"{lines.source}: the {what} {twice[0]!r} is there twice. {_ADVICE}")
    known = {"section": set(sections), "stage": set(stages), "tier": set(tiers)}
    for index, batch in enumerate(plan.batches):
        for what, name in (("section", batch.section), ("stage", batch.stage), ("tier", batch.tier)):
            if name not in known[what]:
                where = lines.where(("batches", index))
                raise PlanCorrupt(f"{where}: batch {batch.id} names the unknown {what} {name!r}. {_ADVICE}")
        if batch.keys[0] > batch.keys[1]:
            raise PlanCorrupt(f"{lines.where(('batches', index))}: batch {batch.id} ends before it begins. {_ADVICE}")


def _check_methods(plan: Plan, lines: Lines) -> None:
    """Every batch that moves objects says how, and its section why; there are no superfluous reasons."""
    unused = {(section.id, method) for section in plan.sections for method in section.methods}
    reasons = {section.id: section.methods for section in plan.sections}
    for index, batch in enumerate(plan.batches):
        where = f"{lines.where(('batches', index))}: batch {batch.id}"
        if (batch.method is None) != (batch.stage == DELETES):
            says = "does not say how its objects travel" if batch.method is None else f"deletes by {batch.method}"
            raise PlanCorrupt(f"{where} {says}. {_ADVICE}")
        if batch.method is None:
            continue
        if not reasons[batch.section].get(batch.method):
            raise PlanCorrupt(f"{where} travels by {batch.method}; section {batch.section} does not say why. {_ADVICE}")
        unused.discard((batch.section, batch.method))
    for section_id, method in sorted(unused):
        raise PlanCorrupt(
            f"{lines.source}: section {section_id} says why batches travel by {method}, but none does. {_ADVICE}"
        )


def _check_stages(plan: Plan, lines: Lines) -> None:
    """The stages are a DAG."""
    names = {stage.id for stage in plan.stages}
    for index, stage in enumerate(plan.stages):
        for other in stage.depends_on:
            if other not in names:
                where = lines.where(("stages", index))
                raise PlanCorrupt(f"{where}: stage {stage.id} waits for {other!r}, which is not there. {_ADVICE}")
    try:
        # graphlib, not networkx: a plan is read by every command, and networkx takes 0.1 s to import.
        TopologicalSorter({stage.id: stage.depends_on for stage in plan.stages}).prepare()
    except CycleError as error:
        ring = " -> ".join(error.args[1])
        where = lines.where(("stages",))
        raise PlanCorrupt(f"{where}: stages wait for each other in a ring: {ring}. {_ADVICE}") from None


def _check_sums(plan: Plan, section: Section, lines: Lines) -> None:
    """Every listed object is accounted for, and the batches move what the summary says."""
    index = plan.sections.index(section)
    where = f"{lines.where(('sections', index, 'summary'))}: section {section.id}"
    moved = [batch for batch in plan.batches if batch.section == section.id]
    batches = Tally(sum(batch.objects for batch in moved), sum(batch.bytes for batch in moved))
    listed, transfer = section.summary.get("listed", Tally()), section.summary.get("transfer", Tally())
    accounted = _sum(section, SOURCE_ACTIONS)
    if listed != accounted:
        raise PlanCorrupt(
            f"{where} listed {_say(listed)}, but copy, overwrite, delete-marker, skip, conflict, unsupported and "
            f"excluded sum to {_say(accounted)}. {_ADVICE}"
        )
    if listed.objects != section.source_inventory.objects or listed.bytes != section.source_inventory.bytes:
        inventory = Tally(section.source_inventory.objects, section.source_inventory.bytes)
        raise PlanCorrupt(f"{where} listed {_say(listed)}, but its source inventory is {_say(inventory)}. {_ADVICE}")
    planned = _sum(section, TRANSFER_ACTIONS)
    if planned != transfer:
        raise PlanCorrupt(f"{where} transfers {_say(transfer)}, but its actions sum to {_say(planned)}. {_ADVICE}")
    if transfer != batches:
        raise PlanCorrupt(f"{where} transfers {_say(transfer)}, but its batches sum to {_say(batches)}. {_ADVICE}")
    for action in SIDE_ACTIONS:
        objects = section.summary.get(action, Tally()).objects
        if bool(objects) != (action in section.side_manifests):
            raise PlanCorrupt(
                f"{where} has {counted_text(objects, 'object')} under {action}, and "
                f"{'no' if objects else 'yet a'} side manifest that lists them. {_ADVICE}"
            )


def _sum(section: Section, actions: Collection[Action]) -> Tally:
    tallies = [section.summary.get(action, Tally()) for action in actions]
    return Tally(sum(tally.objects for tally in tallies), sum(tally.bytes for tally in tallies))


def _say(tally: Tally) -> str:
    return f"{counted_text(tally.objects, 'object')} of {counted_text(tally.bytes, 'byte')}"


def check_guards(plan: Plan) -> None:
    """Raises GuardExceeded naming every guard that *plan* exceeds and what to change if that is meant."""
    guards = plan.guards
    total = plan.transfer
    overwrites = sum(section.summary.get(Action.OVERWRITE, Tally()).objects for section in plan.sections)
    deletes = sum(section.summary.get(Action.DELETE, Tally()).objects for section in plan.sections)
    rows = (
        ("max_objects", "objects", total.objects, guards.max_objects, count_text),
        ("max_bytes", "bytes", total.bytes, guards.max_bytes, size_text),
        ("max_overwrites", "overwrites", overwrites, guards.max_overwrites, count_text),
        ("max_deletes", "deletes", deletes, guards.max_deletes, count_text),
    )
    exceeded = [
        f"{say(actual)} {what}, and guards.{name} allows {say(most)}"
        for name, what, actual, most, say in rows
        if most is not None and actual > most
    ]
    if exceeded:
        raise GuardExceeded(
            f"the plan has {'; '.join(exceeded)}. If this is meant, raise the guard in the declaration and plan again"
        )
