"""What a reviewer should look at before approving a plan: one row each, worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from planner.review.cost import SectionWork
from planner.review.losses import risks_of_probes
from schema.attributes.evidence import Counted
from schema.declaration import Declaration, Policy, Preserve
from schema.facts import Fact, Finding
from schema.formats.quantities import count_text, counted_text, size_text
from schema.plan import VERSION_ORDER, Level, Risk, Section, Tally, is_single_put, takes_single_puts
from schema.storage_classes import ARCHIVED, class_fact, target_storage_class
from schema.tiers import WHOLE_MAX, part_size

_WORST_FIRST = tuple(Level)
PAIRS_NAMED = 3
"""Most pairs named in one row."""


def risks_of(work: Sequence[SectionWork], declaration: Declaration, *, budget: int) -> tuple[Risk, ...]:
    """The plan's `risks`."""
    found: list[tuple[str, Risk]] = []
    policy, preserve = declaration.policy, declaration.preserve
    for item in work:
        section = item.section
        of_section = (
            *item.remarks,
            *_of_actions(section, policy),
            *_of_order(item.unclear_order),
            *_of_ends(section),
            *risks_of_probes(section, preserve),
            *_of_archives(item, policy, preserve),
            *_of_size(item, preserve, budget),
        )
        found += [(section.id, risk) for risk in of_section]
    together: dict[Risk, list[str]] = {}
    for name, risk in found:
        together.setdefault(risk, []).append(name)
    told = [_of_pairs(risk, names, len(work)) for risk, names in together.items()]
    return tuple(sorted(told, key=lambda risk: _WORST_FIRST.index(risk.level)))


def _of_pairs(risk: Risk, names: Sequence[str], pairs: int) -> Risk:
    """One row for all pairs that share a risk."""
    if pairs == 1:
        return risk
    if len(names) == pairs:
        return replace(risk, text=f"each of the {pairs} pairs: {risk.text}")
    named = ", ".join(names[:PAIRS_NAMED]) + (
        f" and {len(names) - PAIRS_NAMED} more" if len(names) > PAIRS_NAMED else ""
    )
    return replace(risk, text=f"{named}: {risk.text}")


def _of_actions(section: Section, policy: Policy) -> Iterator[Risk]:
    overwrites, conflicts, unsupported, deletes = (
        section.summary.get(name, Tally()).objects for name in ("overwrite", "conflict", "unsupported", "delete")
    )
    versioned = section.destination_capabilities.finding(Fact.VERSIONING)
    if overwrites:
        gone = (Level.HIGH, "the bucket keeps no old versions: what is there now is gone after it")
        kept = {
            Finding.ENFORCED: (Level.MEDIUM, "the old versions are kept there"),
            Finding.UNKNOWN: (Level.HIGH, "whether old versions are kept there is not known"),
        }.get(versioned or Finding.UNKNOWN, gone)
        yield Risk("overwrites", kept[0], f"{counted_text(overwrites, 'destination object')} to replace; {kept[1]}")
    if deletes:
        text = f"{counted_text(deletes, 'extraneous destination object')} to delete after verification"
        yield Risk("deletes", Level.HIGH, text)
        if section.source_inventory.objects == 0:
            text = "the source listing is empty and deletes are declared: is this the right bucket?"
            yield Risk("empty-source", Level.HIGH, text)
    if conflicts:
        text = f"{counted_text(conflicts, 'key')} left alone until somebody decides (manifest conflict)"
        yield Risk("conflicts", Level.MEDIUM, text)
    if unsupported:
        text = f"{counted_text(unsupported, 'object')} not copied, for lack of support (manifest unsupported says why)"
        yield Risk("unsupported", Level.MEDIUM, text)
    if policy.versions == "all" and section.summary.get("listed", Tally()).objects:
        yield Risk("versions", Level.LOW, "version ids and times of versions are given anew by the destination")


def _of_order(unclear: Counted) -> Iterator[Risk]:
    if unclear.objects:
        named = ", ".join(ascii(key) for key in unclear.examples)
        text = (
            f"of {counted_text(unclear.objects, 'key')} the source lists versions and delete markers of the same time "
            f"apart, so that their order cannot be told: they may arrive in another one ({named})"
        )
        yield Risk(VERSION_ORDER, Level.HIGH, text)


def _of_ends(section: Section) -> Iterator[Risk]:
    for name, side in (("source", section.source), ("destination", section.destination)):
        if side.endpoint_url is not None and side.endpoint_url.lower().startswith("http://"):
            text = f"the {name} is spoken to without TLS: bytes and keys cross in the clear"
            yield Risk(f"http-{name}", Level.MEDIUM, text)
    if section.summary.get("transfer", Tally()).objects:
        lacking = [
            fact for fact in (Fact.IF_NONE_MATCH, Fact.IF_MATCH) if not section.destination_capabilities.enforces(fact)
        ]
        if lacking:
            text = (
                f"the destination was not seen to enforce {' and '.join(lacking)}: a key somebody else writes during "
                "the run may be overwritten; keep other writers away"
            )
            yield Risk("non-atomic-writes", Level.MEDIUM, text)
    for loss in section.losses:
        count = "" if loss.objects is None else f" ({counted_text(loss.objects, 'object')})"
        level = Level.LOW if loss.accepted else Level.HIGH
        text = f"{loss.text}{count}; {'accepted' if loss.accepted else 'not accepted yet'}"
        yield Risk(f"loss-{loss.id}", level, text)


def _of_archives(item: SectionWork, policy: Policy, preserve: Preserve) -> Iterator[Risk]:
    """Objects that cannot be read back where they land, and restores that the class does not know."""
    landing: dict[str, int] = {}
    for name, carried in item.classes.items():
        wanted = target_storage_class(name, preserve)
        refused = item.section.destination_capabilities.denies(class_fact(wanted))
        if wanted in ARCHIVED and not refused:
            landing[wanted] = landing.get(wanted, 0) + carried.objects
    if landing:
        named = " and ".join(f"{count_text(objects)} in {name}" for name, objects in sorted(landing.items()))
        text = (
            f"{named} cannot be read back once landed: the canary and verify --level content prove these by "
            "their checksums and heads, and say so of each"
        )
        yield Risk("archived-destination", Level.MEDIUM, text)
    unknown = item.classes.get("DEEP_ARCHIVE")
    if unknown is not None and unknown.restores and policy.restore_tier == "Expedited":
        text = f"DEEP_ARCHIVE knows no Expedited restore: {counted_text(unknown.restores, 'object')} would fail"
        yield Risk("restore-tier", Level.HIGH, text)


def _of_size(item: SectionWork, preserve: Preserve, budget: int) -> Iterator[Risk]:
    size, key, etag = item.largest
    capabilities = item.section.destination_capabilities
    most_parts = capabilities.most_parts
    if size <= WHOLE_MAX:
        return
    taken = takes_single_puts(item.section, item.section.source_capabilities, capabilities)
    cut_at_source = etag.rpartition("-")[2] if "-" in etag else ""
    if preserve.part_layout and cut_at_source.isdecimal():
        cuts = f"{counted_text(int(cut_at_source), 'part')}, cut as at the source"
    elif taken and is_single_put(size, etag):
        yield Risk("largest-object", Level.LOW, f"{key[:200]!r} is {size_text(size)}: one PUT")
        return
    else:
        part = part_size(size, budget, most_parts)
        cuts = f"{counted_text(-(-size // part), 'part')} of {size_text(part)}"
    text = f"{key[:200]!r} is {size_text(size)}: {cuts} (limit {count_text(most_parts)})"
    yield Risk("largest-object", Level.LOW, text)
