"""A plan as text for a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schema.declaration import Side
from schema.formats.escape import one_line
from schema.formats.quantities import counted_text, size_text
from schema.plan import Batch, Plan, Section

ACTIONS = ("copy", "overwrite", "delete-marker", "delete", "skip", "conflict", "unsupported", "excluded", "extraneous")


def side_text(side: Side) -> str:
    """'https://host/bucket/prefix', or 'aws:region/bucket/prefix'."""
    place = side.endpoint_url or f"aws:{side.region}"
    return one_line(f"{place}/{side.bucket}/{side.prefix}")


def summary_of(plan: Plan) -> dict[str, Any]:
    """The plan's figures as JSON."""
    groups = by_method(plan)
    return {
        "name": plan.name,
        "serial": plan.serial,
        "sections": {
            section.id: {
                action: {"objects": tally.objects, "bytes": tally.bytes} for action, tally in section.summary.items()
            }
            for section in plan.sections
        },
        "transfer": {"objects": plan.transfer.objects, "bytes": plan.transfer.bytes},
        "batches": len(plan.batches),
        "losses": [
            {"section": s.id, "id": loss.id, "text": loss.text, "objects": loss.objects, "accepted": loss.accepted}
            for s in plan.sections
            for loss in s.losses
        ],
        "methods": [
            {
                "section": section.id,
                "method": method,
                "reason": why,
                "batches": len(groups[section.id, method]),
                "objects": sum(batch.objects for batch in groups[section.id, method]),
                "bytes": sum(batch.bytes for batch in groups[section.id, method]),
            }
            for section in plan.sections
            for method, why in section.methods.items()
        ],
    }


ByMethod = Mapping[tuple[str, str | None], list[Batch]]
"""(section id, method) -> its batches; method None: batches that delete."""


def by_method(plan: Plan) -> ByMethod:
    """The batches of *plan* by section and method, in plan order."""
    groups: dict[tuple[str, str | None], list[Batch]] = defaultdict(list)
    for batch in plan.batches:
        groups[batch.section, batch.method].append(batch)
    return groups


def extent(batches: Sequence[Batch]) -> str:
    """'3 batches, 1,204 objects, 5.0 GiB'."""
    objects, size = sum(batch.objects for batch in batches), sum(batch.bytes for batch in batches)
    return f"{counted_text(len(batches), 'batch')}, {counted_text(objects, 'object')}, {size_text(size)}"


class StageSums(NamedTuple):
    """What a stage of a plan adds up to."""

    name: str
    depends_on: Sequence[str]
    batches: int
    objects: int
    bytes: int


def stages_of(plan: Plan) -> list[StageSums]:
    """The stages of *plan*, in order."""
    sums = []
    for stage in plan.stages:
        those = [batch for batch in plan.batches if batch.stage == stage.id]
        objects, size = sum(batch.objects for batch in those), sum(batch.bytes for batch in those)
        sums.append(StageSums(stage.id, stage.depends_on, len(those), objects, size))
    return sums


def plan_text(plan: Plan) -> str:
    """The whole plan: sections with actions and losses, risks, stages, estimate."""
    lines = [f"{one_line(plan.name)} serial {plan.serial}  {plan.plan_id}"]
    groups = by_method(plan)
    for section in plan.sections:
        lines += _section_lines(section, groups)
    if plan.risks:
        lines.append("risks")
        lines += [f"  {risk.level:6} {one_line(risk.text)}" for risk in plan.risks]
    if plan.batches:
        lines.append("stages")
        for stage in stages_of(plan):
            after = f" after {', '.join(stage.depends_on)}" if stage.depends_on else ""
            figures = f"{counted_text(stage.batches, 'batch'):>12} {counted_text(stage.objects, 'object'):>20}"
            lines.append(f"  {stage.name:9} {figures} {size_text(stage.bytes):>11}{after}")
        lines += _estimate_lines(plan)
    else:
        lines.append("nothing to do")
    return "\n".join(lines)


def _section_lines(section: Section, groups: ByMethod) -> list[str]:
    lines = [f"{section.id}: {side_text(section.source)} -> {side_text(section.destination)}"]
    for method, why in section.methods.items():
        lines.append(f"  {method_text(method, why)} ({extent(groups[section.id, method])})")
    for action in ACTIONS:
        tally = section.summary.get(action)
        if tally is not None and (tally.objects or action == "copy"):
            lines.append(f"  {action:13} {counted_text(tally.objects, 'object'):>22} {size_text(tally.bytes):>12}")
    for loss in section.losses:
        state = "accepted" if loss.accepted else "NOT ACCEPTED"
        count = "" if loss.objects is None else f" ({counted_text(loss.objects, 'object')})"
        lines.append(f"  loss {loss.id} [{state}]{count}: {one_line(loss.text)}")
        lines += [f"    e.g. {one_line(example)}" for example in loss.examples[:3]]
    lines += [f"  maps {one_line(a)} -> {one_line(b)}" for a, b in section.mapping_examples[:3]]
    return lines


def _estimate_lines(plan: Plan) -> list[str]:
    lines = ["estimate"]
    for name, value in plan.estimate.items():
        if name in ("assumptions", "figures"):
            continue
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        lines.append(f"  {name}: {one_line(text)}")
    return lines


def method_text(method: str, method_reason: str) -> str:
    """How objects travel, and why."""
    return f"by {method}: {one_line(method_reason)}"


def batches_text(plan: Plan) -> Iterator[str]:
    """The plan's batches, one line each, under their method and its reason."""
    groups = by_method(plan)
    for section in plan.sections:
        for method, why in section.methods.items():
            yield f"batches of {section.id} {method_text(method, why)}"
            yield from (f"  {batch_text(batch)}" for batch in groups[section.id, method])
    deleting = [batch for batch in plan.batches if batch.method is None]
    if deleting:
        yield "batches that delete"
        yield from (f"  {batch_text(batch)}" for batch in deleting)


def batch_text(batch: Batch) -> str:
    """One batch's line."""
    how = f"by {batch.method}, " if batch.method else ""
    return (
        f"{batch.id}  {batch.section}/{batch.stage}  {how}"
        f"{counted_text(batch.objects, 'object')}, {size_text(batch.bytes)}  "
        f"{one_line(batch.keys[0])} .. {one_line(batch.keys[1])}  {batch.manifest}"
    )
