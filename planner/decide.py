"""What should happen to one key: a pure function of two listed objects, the policy and what the probes found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.keys.mapping import key_complaint, refused_kinds_of
from planner.reasons import Reason
from schema.declaration import Addressing, Comparison, OnDifferent, Pair, Policy
from schema.facts import Capabilities, Fact
from schema.objects import ListedObject, etag_may_be_md5
from schema.plan import Action
from schema.storage_classes import ARCHIVED
from schema.tiers import MAX_PART, MAX_PARTS

Ruling = tuple[Action, Reason]
"""What happens to an object, and why."""
Earlier = Sequence[tuple[str, str]]
"""(source ETag, destination ETag) of what this lineage wrote to the key earlier."""

_BY_NAME = {
    OnDifferent.OVERWRITE: Action.OVERWRITE,
    OnDifferent.SKIP: Action.SKIP,
    OnDifferent.CONFLICT: Action.CONFLICT,
}


@dataclass(frozen=True, slots=True)
class EndFacts:
    """What decides besides the listing, from the probes and the declaration."""

    etags_from_content: bool = True
    """False when a probe saw an end whose ETags do not come from the bytes: then no ETag proves anything."""
    refused_kinds: frozenset[str] = frozenset()
    """Kinds of odd key the destination does not hold under their own name."""
    virtual_hosted: bool = False
    """Either end is addressed as BUCKET.host, where the key 'soap' cannot be reached."""
    most_parts: int = MAX_PARTS
    """Of one upload at the destination."""
    keeps_versions: bool = True
    """False when a probe saw that the destination bucket holds one object a key and no history."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides besides the listing: the declared policy, and the facts of the two ends."""

    policy: Policy
    facts: EndFacts


def end_facts(pair: Pair, source_can: Capabilities, destination_can: Capabilities) -> EndFacts:
    """The facts of one section. What no probe has examined is assumed to be as at AWS."""
    return EndFacts(
        etags_from_content=not any(can.denies(Fact.ETAG_IS_MD5) for can in (source_can, destination_can)),
        refused_kinds=refused_kinds_of(destination_can),
        most_parts=destination_can.most_parts,
        virtual_hosted=any(
            side.addressing is Addressing.VIRTUAL or (side.addressing is Addressing.AUTO and side.endpoint_url is None)
            for side in (pair.source, pair.destination)
        ),
        keeps_versions=not destination_can.denies(Fact.VERSIONING),
    )


def decide(
    source: ListedObject,
    target: str,
    destination: ListedObject | None,
    *,
    rules: Rules,
    earlier: Earlier = (),
) -> Ruling:
    """The action for *source*, to become *target* where the *destination* object now is (None: nothing).

    Equality comes first: a key that needs no copy is SKIP even when it could not be copied. Then what cannot be copied
    is UNSUPPORTED; then the policy decides. `unproven` is handled as different.
    """
    if destination is None:
        complaint = unsupported(source, target, rules)
        return (Action.COPY, Reason.ABSENT) if complaint is None else (Action.UNSUPPORTED, complaint)
    reason = compare(source, destination, rules, earlier=earlier)
    if reason in EQUAL:
        return Action.SKIP, reason
    complaint = unsupported(source, target, rules)
    if complaint is not None:
        return Action.UNSUPPORTED, complaint
    return judge_difference(source, destination, reason, policy=rules.policy, earlier=earlier)


def alike_reason(rules: Rules) -> Reason | None:
    """Why any two objects of one size and one ETag (there is one) are skipped that no earlier copy speaks of.

    None: it depends on more than these.
    """
    if Comparison.MODIFIED in rules.policy.compare:
        return None
    if not {Comparison.ETAG, Comparison.CHECKSUM}.intersection(rules.policy.compare):
        return Reason.SAME_SIZE
    return Reason.SAME_ETAG if rules.facts.etags_from_content else None


EQUAL = frozenset({Reason.SAME_SIZE, Reason.SAME_ETAG, Reason.NOT_OLDER, Reason.COPIED_EARLIER, Reason.SAME_MARKER})
"""The answers of `compare` that mean: nothing to do."""


def compare(source: ListedObject, destination: ListedObject, rules: Rules, *, earlier: Earlier = ()) -> Reason:
    """Whether the two are equal as far as the policy's comparisons ask, and why.

    A size that differs is always a difference. Equal ETags prove equality, and two MD5-shaped ones that differ prove
    a difference, where both come from content; anything else proves nothing, and only the ledger's memory may
    (same source ETag as copied, same destination ETag as written). A listing holds no checksum values: `checksum`
    asks for the same proof as `etag`.
    """
    if source.size != destination.size:
        return Reason.OTHER_SIZE
    if earlier and (source.etag, destination.etag) in earlier:
        return Reason.COPIED_EARLIER
    comparisons = rules.policy.compare
    reason = Reason.SAME_SIZE
    if Comparison.ETAG in comparisons or Comparison.CHECKSUM in comparisons:
        reason = _compare_etags(source.etag, destination.etag, rules.facts)
        if reason is not Reason.SAME_ETAG:
            return reason
    if Comparison.MODIFIED in comparisons:
        if source.modified_ms > destination.modified_ms:
            return Reason.SOURCE_NEWER
        if reason is Reason.SAME_SIZE:
            return Reason.NOT_OLDER
    return reason


def _compare_etags(source: str, destination: str, facts: EndFacts) -> Reason:
    if not facts.etags_from_content or not source or not destination:
        return Reason.UNPROVEN
    if source == destination:
        return Reason.SAME_ETAG
    return Reason.OTHER_ETAG if etag_may_be_md5(source) and etag_may_be_md5(destination) else Reason.UNPROVEN


def judge_difference(
    source: ListedObject, destination: ListedObject, reason: Reason, *, policy: Policy, earlier: Earlier
) -> Ruling:
    """The policy's decision on two objects that differ (or are not proven equal).

    A destination that is newer only because this lineage wrote it is not protected: its source has changed since.
    """
    if destination.modified_ms > source.modified_ms:
        if any(written == destination.etag for _, written in earlier):
            return _BY_NAME[policy.on_different], Reason.SOURCE_CHANGED
        newer = Reason.UNPROVEN_NEWER if reason is Reason.UNPROVEN else Reason.DESTINATION_NEWER
        return _BY_NAME[policy.on_destination_newer], newer
    return _BY_NAME[policy.on_different], reason


def unsupported(source: ListedObject, target: str, rules: Rules) -> Reason | None:
    """Why *source* cannot be copied to *target* at all, or None."""
    facts = rules.facts
    refused, hosted = facts.refused_kinds, facts.virtual_hosted
    complaint = key_complaint(target, size=source.size, refused_kinds=refused, virtual_hosted=hosted)
    if complaint is not None or source.delete_marker:
        return complaint
    if source.size > facts.most_parts * MAX_PART:
        return Reason.TOO_LARGE
    if rules.policy.on_archived != "restore" and needs_restore(source):
        return Reason.ARCHIVED
    return None


def needs_restore(item: ListedObject) -> bool:
    """Whether *item* can be read only after a restore, as far as a listing shows."""
    return item.storage_class in ARCHIVED and not item.restored
