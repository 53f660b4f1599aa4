"""What a reviewer of a plan has to know, collected once for every format."""

from __future__ import annotations

import hashlib
import shlex
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from s3migrate.plan_url import PlanUrl
from schema.errors import GuardExceeded, MigrationError, StoreError
from schema.files.manifest import ManifestStore, read_lines
from schema.files.manifest_lines import decode
from schema.files.plan_checks import check_guards
from schema.formats.quantities import count_text, counted_text, size_text
from schema.plan import Action, Entry, Level, Overview, Plan, Share, Tally
from schema.tiers import TIERS

SAMPLE = 20
NOT_MIGRATED = (Action.CONFLICT, Action.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The plan in numbers, destructive ones first."""

    deletes: int
    delete_markers: int
    overwrites: int
    creates: int
    losses_accepted: int
    losses_not_accepted: int
    conflicts: int
    unsupported: int
    excluded: int
    already_there: int
    kept: int
    """At the destination only, and left alone."""
    bytes: int
    """Bytes that will be written."""
    max_deletes: int
    max_overwrites: int | None
    guards_exceeded: str | None
    """Which guards the plan exceeds, in words; None: it exceeds none."""

    @property
    def not_migrated(self) -> int:
        """Source keys that somebody has to decide about."""
        return self.conflicts + self.unsupported

    @property
    def nothing_to_do(self) -> bool:
        """Whether nothing moves and nothing waits for a decision."""
        return not (self.deletes or self.delete_markers or self.overwrites or self.creates or self.not_migrated)


class Concern(NamedTuple):
    """Something to look at before the plan is approved."""

    text: str
    keys: tuple[str, ...]
    """At most three examples."""
    command: str | None
    """Lists all keys concerned."""


class Sampled(NamedTuple):
    """One object drawn from the plan."""

    section: str
    batch: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Sample:
    """A random sample of the plan's objects."""

    drawn: tuple[Sampled, ...]
    missing: str | None = None
    """Why it is incomplete: a manifest that could not be read. None: it is complete."""


def verdict_of(plan: Plan) -> Verdict:
    """The numbers of *plan*."""
    losses = {(loss.id, loss.accepted) for section in plan.sections for loss in section.losses}
    try:
        check_guards(plan)
        exceeded = None
    except GuardExceeded as error:
        exceeded = str(error)
    return Verdict(
        deletes=objects_of(plan, Action.DELETE),
        delete_markers=objects_of(plan, Action.DELETE_MARKER),
        overwrites=objects_of(plan, Action.OVERWRITE),
        creates=objects_of(plan, Action.COPY),
        losses_accepted=sum(accepted for _, accepted in losses),
        losses_not_accepted=sum(not accepted for _, accepted in losses),
        conflicts=objects_of(plan, Action.CONFLICT),
        unsupported=objects_of(plan, Action.UNSUPPORTED),
        excluded=objects_of(plan, Action.EXCLUDED),
        already_there=objects_of(plan, Action.SKIP),
        kept=objects_of(plan, Action.EXTRANEOUS),
        bytes=sum(
            section.summary.get(action, Tally()).bytes
            for section in plan.sections
            for action in (Action.COPY, Action.OVERWRITE)
        ),
        max_deletes=plan.guards.max_deletes,
        max_overwrites=plan.guards.max_overwrites,
        guards_exceeded=exceeded,
    )


def objects_of(plan: Plan, action: Action) -> int:
    """How many objects have this action, in all sections."""
    return sum(section.summary.get(action, Tally()).objects for section in plan.sections)


def shares_of(overview: Overview) -> list[tuple[str, Sequence[Share]]]:
    """How the objects are distributed: by size, year and storage class."""
    ranges = {tier.name: f"up to {size_text(tier.high)}" for tier in TIERS}
    sizes = [Share(ranges.get(share.name, share.name), *share[1:]) for share in overview.sizes]
    return [("size", sizes), ("modified in", overview.years), ("class", overview.storage_classes)]


def verdict_words(verdict: Verdict) -> list[str]:
    """The verdict, a few words per number, destructive ones first."""
    overwrites = "" if verdict.max_overwrites is None else f" of ≤ {count_text(verdict.max_overwrites)} allowed"
    deletes = f" of ≤ {count_text(verdict.max_deletes)} allowed" if verdict.deletes else ""
    losses = [
        f"{count_text(number)} {state}"
        for number, state in ((verdict.losses_not_accepted, "not accepted"), (verdict.losses_accepted, "accepted"))
        if number
    ]
    words = [
        f"deletes {count_text(verdict.deletes)}{deletes}",
        f"overwrites {count_text(verdict.overwrites)}{overwrites}",
        f"creates {count_text(verdict.creates)}",
        f"losses {', '.join(losses) or '0'}",
        f"not migrated {count_text(verdict.not_migrated)}",
    ]
    if verdict.delete_markers:
        words.insert(1, f"delete markers {count_text(verdict.delete_markers)}")
    return words


def concerns_of(plan: Plan, verdict: Verdict, path: Path | PlanUrl) -> list[Concern]:
    """What to look at, worst first; may be empty."""
    found = []
    if verdict.guards_exceeded:
        found.append(Concern(f"apply refuses this plan: {verdict.guards_exceeded}", (), None))
    found += _of_actions(plan, path, (Action.DELETE, Action.DELETE_MARKER, Action.OVERWRITE))
    found += _of_losses(plan)
    found += _of_actions(plan, path, NOT_MIGRATED)
    told = {"overwrites", "deletes", "conflicts", "unsupported"}
    for risk in plan.risks:
        if risk.level is Level.HIGH and risk.id not in told and not risk.id.startswith("loss-"):
            found.append(Concern(f"high risk: {risk.text}", (), None))
    return found


_MEANING: Mapping[Action, tuple[str, str]] = {
    Action.DELETE: ("destination object", "deleted after everything else is verified"),
    Action.DELETE_MARKER: ("delete marker", "created, as at the source"),
    Action.OVERWRITE: ("destination object", "replaced"),
    Action.CONFLICT: ("key", "left alone until somebody decides"),
    Action.UNSUPPORTED: ("key", "not migrated: the destination cannot hold it"),
}


def _of_actions(plan: Plan, path: Path | PlanUrl, actions: Sequence[Action]) -> list[Concern]:
    examples = {} if plan.overview is None else plan.overview.examples
    found = []
    for action in actions:
        objects = objects_of(plan, action)
        if objects:
            noun, what = _MEANING[action]
            after = _replaced(plan) if action is Action.OVERWRITE else ""
            text = f"{counted_text(objects, noun)} {what}{after}"
            found.append(Concern(text, tuple(examples.get(action, ())), show_command(path, f"--action {action}")))
    return found


def _replaced(plan: Plan) -> str:
    """What the plan's risk says about the replaced content."""
    texts = {risk.text.partition("; ")[2] for risk in plan.risks if risk.id == "overwrites"}
    return f"; {'; '.join(sorted(texts))}" if texts - {""} else ""


def _of_losses(plan: Plan) -> list[Concern]:
    """Each loss that is not accepted, with the sections that have it."""
    losses = [(section.id, loss) for section in plan.sections for loss in section.losses if not loss.accepted]
    found = []
    for name in dict.fromkeys(loss.id for _, loss in losses):
        those = [(section, loss) for section, loss in losses if loss.id == name]
        counts = [loss.objects for _, loss in those]
        objects = None if None in counts else sum(count or 0 for count in counts)
        how_many = "" if objects is None else f" ({counted_text(objects, 'object')})"
        where = f", in {counted_text(len(those), 'section')}" if len(those) > 1 else ""
        text = f"loss {name} NOT ACCEPTED{how_many}{where}: {those[0][1].text}"
        keys = tuple(dict.fromkeys(key for _, loss in those for key in loss.examples))[:3]
        found.append(Concern(text, keys, None))
    return found


def show_command(path: Path | PlanUrl, options: str = "") -> str:
    """The command that shows this plan with *options*."""
    return f"s3migrate show {shlex.quote(str(path))} {options}".rstrip()


def apply_command(plan: Plan, path: Path | PlanUrl) -> str:
    """The command that applies exactly this plan."""
    return f"s3migrate apply {shlex.quote(str(path))} --expect-plan-id {plan.plan_id.removeprefix('sha256:')}"


def draw_sample(plan: Plan, manifests: ManifestStore) -> Sample:
    """At most SAMPLE of the objects that move, in plan order.

    The positions are hashes of the plan_id: everybody draws the same ones, and the author of a plan cannot choose them.
    Reads at most SAMPLE manifests, none further than needed, and decodes only what is drawn.
    """
    ends = list(accumulate(batch.objects for batch in plan.batches))
    total = ends[-1] if ends else 0
    wanted: dict[int, list[int]] = {}
    for position in _positions(plan.plan_id, total):
        index = bisect_right(ends, position)
        wanted.setdefault(index, []).append(position - (ends[index] - plan.batches[index].objects))
    drawn: list[Sampled] = []
    missing = None
    for index, ords in sorted(wanted.items()):
        batch = plan.batches[index]
        try:
            entries = _entries_at(manifests, batch.manifest, sorted(ords))
        except MigrationError as error:
            missing = str(error)
            if isinstance(error, StoreError):
                break  # the bucket of the manifests cannot be read
            continue
        drawn += [Sampled(batch.section, batch.id, entry) for entry in entries]
    return Sample(tuple(drawn), missing)


def _positions(plan_id: str, total: int) -> list[int]:
    """Distinct positions among *total*."""
    if total <= SAMPLE:
        return list(range(total))
    found: dict[int, None] = {}
    number = 0
    while len(found) < SAMPLE:
        digest = hashlib.sha256(f"sample\0{plan_id}\0{number}".encode()).digest()
        found[int.from_bytes(digest[:16]) % total] = None
        number += 1
    return sorted(found)


def _entries_at(manifests: ManifestStore, digest: str, ords: Sequence[int]) -> list[Entry]:
    """The entries on the lines *ords* (ascending, from 0)."""
    wanted, found = set(ords), []
    for number, line in enumerate(read_lines(manifests, digest)):
        if number in wanted:
            found.append(decode(line, number + 1))
            if number == ords[-1]:
                break
    return found
