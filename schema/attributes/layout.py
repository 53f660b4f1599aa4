"""How the bytes were cut into parts, which shows in the ETag; and what S3 attaches in objects of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schema.attributes.attribute import Attribute, Difference, Sides
from schema.attributes.evidence import Evidence, FoundLoss, SampledObject
from schema.declaration import Preserve
from schema.facts import Fact
from schema.objects import etag_is_opaque


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
        if evidence.destination_facts.lacks(Fact.MULTIPART_ETAG):
            examples = evidence.keys(lambda found: found.head.in_parts)
            text = "the destination's multipart ETags do not follow from the parts; they will differ from the source's"
        else:
            examples = evidence.keys(lambda found: found.head.in_parts and etag_is_opaque(found.head.headers))
            text = "multipart ETags of objects under KMS or SSE-C do not follow from their parts; they will differ"
        if examples:
            yield FoundLoss(self.loss, text, examples)


class Annotations(Attribute):
    """Seen, and never carried: there is no switch."""

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
