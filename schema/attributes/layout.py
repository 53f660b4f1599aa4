"""How the bytes were cut into parts, which shows in the ETag; and annotations, which S3 keeps apart from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schema.attributes.attribute import Attribute, Difference, Sides
from schema.attributes.evidence import Evidence, FoundLoss, SampledObject
from schema.declaration import Preserve
from schema.facts import Fact
from schema.objects import ObjectHead, etag_is_opaque
from schema.tiers import MIN_PART


class PartLayout(Attribute):
    """The cuts of a multipart upload; executor.copy.layout makes them again."""

    loss: Final = "part-layout"
    losses = (loss,)

    def asked(self, preserve: Preserve) -> bool:
        return preserve.part_layout

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        if found.head.in_parts:
            yield "parts"

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        source, actual = sides.source, sides.destination.etag
        if source.in_parts and source.size and actual != source.etag and self.loss not in sides.accepted:
            sides.found.append(Difference(self.loss, source.etag or "", actual or ""))

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        in_parts = evidence.keys(lambda found: found.head.in_parts)
        if not in_parts:
            return
        most = evidence.destination_facts.most_parts
        many = evidence.keys(lambda found: part_count(found.head) > most)
        small = evidence.keys(lambda found: part_count(found.head) > 1 and _has_small_parts(found.head))
        sealed = evidence.keys(lambda found: found.head.in_parts and etag_is_opaque(found.head.headers))
        if evidence.source_facts.lacks(Fact.READS_PART_NUMBERS):
            text = "the source does not tell how its parts were cut (HEAD ?partNumber=); they are cut anew"
            yield FoundLoss(self.loss, text, in_parts)
        elif evidence.destination_facts.lacks(Fact.MULTIPART_ETAG):
            text = "the destination's multipart ETags do not follow from the parts; they will differ from the source's"
            yield FoundLoss(self.loss, text, in_parts)
        elif sealed:
            text = "multipart ETags of objects under KMS or SSE-C do not follow from their parts; they will differ"
            yield FoundLoss(self.loss, text, sealed)
        if many:
            text = f"the destination takes {most:,} parts at most; objects of more parts are cut anew"
            yield FoundLoss(self.loss, text, many)
        if small:
            text = "objects in parts of less than 5 MiB, which S3 does not take, are cut anew"
            yield FoundLoss(self.loss, text, small)


def part_count(head: ObjectHead) -> int:
    """The N of a multipart ETag; 0 for any other."""
    return parts_named(head.etag or "") if head.in_parts else 0


def parts_named(etag: str) -> int:
    """The N of a multipart ETag as listed; 0 for any other."""
    number = etag.rpartition("-")[2] if "-" in etag else ""
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def _has_small_parts(head: ObjectHead) -> bool:
    """Whether the parts were smaller than S3 accepts: certain when their mean without the last is below that."""
    return (head.size or 0) < (part_count(head) - 1) * MIN_PART


class Annotations(Attribute):
    """Detected, and never carried: there is no switch."""

    loss: Final = "annotations"
    losses = (loss,)

    def asked(self, preserve: Preserve) -> bool:
        return True

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        if found.annotations:
            yield "annotations"

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        examples = evidence.keys(lambda found: found.annotations)
        if examples:
            yield FoundLoss(self.loss, "object annotations are not copied by this tool", examples)
