"""How an object is cut into parts: by the plan's part size, or as the source was, for the same multipart ETag."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from executor.carry import integrity
from executor.carry.carriage import accepted_losses
from executor.copy.job import Job
from executor.ledger.values import PartRecord
from executor.route import Route
from schema.attributes.layout import PartLayout
from schema.errors import FeatureUnsupported, ObjectRefused
from schema.facts import Fact
from schema.objects import ListedPart
from schema.plan import Entry
from schema.tiers import MAX_PARTS, MIN_PART
from storage.port import UploadPart

_READS = Fact.READS_PART_NUMBERS
LOSS = PartLayout.loss
"""Accepting this loss excuses an ETag that differs."""


class PartRange(NamedTuple):
    """Part *number* (from 1) is bytes [start, start + length)."""

    number: int
    start: int
    length: int

    def of(self, key: str, upload_id: str) -> UploadPart:
        """This part of one upload."""
        return UploadPart(key, upload_id, self.number)


def parts_of(size: int, part_size: int) -> list[PartRange]:
    """The parts of an object of *size* > 0 bytes: contiguous, all *part_size* long but the last."""
    return [
        PartRange(number + 1, start, min(part_size, size - start))
        for number, start in enumerate(range(0, size, part_size))
    ]


def cut_parts(job: Job, *, each: bool = False) -> list[PartRange]:
    """Where the parts begin: the source's own cuts when the plan keeps them, else the plan's part size.

    *each*: see layout_of.
    """
    route, entry = job.route, job.entry
    if not route.keeps_layout(entry):
        return parts_of(entry.size, route.part_size(entry.size))

    if LOSS in accepted_losses(route) and not _can_be_kept(route, entry):
        return parts_of(entry.size, route.part_size(entry.size))

    def ask(number: int) -> Mapping[str, str]:
        query = [("partNumber", str(number))] + ([("versionId", entry.version_id)] if entry.version_id else [])
        try:
            return job.repeat(lambda: route.source.subresource("HEAD", entry.key, query)[0])
        except FeatureUnsupported:
            return {}  # a source without partNumber cannot tell

    return layout_of(route, entry, ask, each=each)


def _can_be_kept(route: Route, entry: Entry) -> bool:
    """False: the source does not state the cuts, or the destination does not accept parts so many or so small."""
    count = _count(entry.etag)
    too_small = entry.size < (count - 1) * MIN_PART
    return not (route.source_facts.denies(_READS) or count > route.destination_facts.most_parts or too_small)


def cut_again(job: Job, sent: Sequence[PartRecord], cuts: list[PartRange]) -> list[PartRange] | None:
    """Before Complete: None when the parts *sent*, cut as *cuts* say, make the source's ETag.

    Uneven parts may add up like even ones; then the source's own cuts, asked for one by one, are returned. Raises
    ObjectRefused when they are the same.
    """
    try:
        require_same_etag(job.route, job.entry, sent)
    except ObjectRefused:
        exact = cut_parts(job, each=True)
        if exact == cuts:
            raise
        return exact
    return None


def layout_of(
    route: Route, entry: Entry, ask: Callable[[int], Mapping[str, str]], *, each: bool = False
) -> list[PartRange]:
    """The parts of *entry* as they were uploaded; *ask(n)*: the headers of HEAD ?partNumber=n at the source.

    Two requests where all parts but the last seem alike, else, or when *each* is to be asked, one for each part.
    Where the source does not state them: our own cuts if the loss was accepted, else raises ObjectRefused.
    """
    count = _count(entry.etag)
    first = _length(ask(1)) if count else 0
    if count == 1 and first == entry.size:
        return parts_of(entry.size, entry.size)
    if count > 1 and 0 < first < entry.size:
        last = _length(ask(count))
        if not each and first * (count - 1) + last == entry.size and last <= first:
            return parts_of(entry.size, first)
        lengths = [first, *(_length(ask(number)) for number in range(2, count)), last]
        if sum(lengths) == entry.size and 0 not in lengths:
            starts = accumulate(lengths[:-1], initial=0)
            return [PartRange(n, start, size) for n, (start, size) in enumerate(zip(starts, lengths, strict=True), 1)]
    if LOSS in accepted_losses(route):
        return parts_of(entry.size, route.part_size(entry.size))
    raise ObjectRefused(
        f"{entry.key!r}: the source does not report the sizes of its {count} parts, so preserve.part_layout cannot be "
        f"met; accept_loss: [{LOSS}] would copy it in parts of other sizes",
        operation="HeadObject",
        key=entry.key,
    )


def require_same_etag(route: Route, entry: Entry, parts: Sequence[PartRecord]) -> None:
    """Before Complete: raises ObjectRefused when these parts cannot give the source's ETag.

    Passes where the destination's part ETags are not MD5s.
    """
    facts = route.destination_facts
    digests = [integrity.md5_of_etag(part.etag) for part in parts]
    if LOSS in accepted_losses(route) or not facts.enforces(Fact.ETAG_IS_MD5) or None in digests:
        return
    foreseen = integrity.etag_of_parts([digest for digest in digests if digest is not None])
    if foreseen != entry.etag:
        raise ObjectRefused(
            f"{entry.key!r}: these parts give the ETag {foreseen}, but the source has {entry.etag}; its ETag does not "
            f"follow from its parts (encryption, another server). Nothing was published; accept_loss: [{LOSS}]",
            operation="CompleteMultipartUpload",
            key=entry.target,
        )


def uneven(parts: Sequence[PartRecord]) -> bool:
    """Whether parts but the last differ in size, which some servers (R2) refuse at Complete."""
    return len({part.size for part in sorted(parts)[:-1]}) > 1


def holds(listed: Iterable[ListedPart], parts: Sequence[PartRecord]) -> bool:
    """Whether an upload that lists *listed* consists of *parts*."""
    there = {(part.number, part.etag, part.size) for part in listed}
    return there == {(part.part_no, part.etag, part.size) for part in parts}


def _count(etag: str) -> int:
    number = etag.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() and 1 <= int(number) <= MAX_PARTS else 0


def _length(headers: Mapping[str, str]) -> int:
    """Of the part that a HEAD ?partNumber answered; 0 where it states none: no part is empty."""
    said = headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() else 0
