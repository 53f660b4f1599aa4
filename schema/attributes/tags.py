"""Object tags: a header of the write where they fit and the destination takes it, else a request after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from schema.attributes.attribute import Attribute, Difference, Kept, Outgoing, Pairs, Sides, WriteRequest
from schema.attributes.evidence import Evidence, FoundLoss, SampledObject
from schema.declaration import Preserve
from schema.facts import Fact

MAX_TAG_HEADER: Final = 2048
"""Tags longer than this (URL-encoded bytes) follow in a PutObjectTagging: all headers of a PUT share 8 KB."""
_TAKEN: Final = {
    WriteRequest.PUT: (Fact.TAGGING_HEADER,),
    WriteRequest.UPLOAD: (Fact.TAGGING_HEADER, Fact.TAGGING_UPLOAD),
    WriteRequest.COPY: (Fact.TAGGING_HEADER, Fact.TAGGING_COPY),
}
"""Facts none of which may be denied for tags to go with a request; otherwise they follow it."""


class Tags(Attribute):
    """Names and values besides the metadata, changeable without a new write. Reading them is an extra call."""

    loss: Final = "tags"
    losses = (loss,)

    def asked(self, preserve: Preserve) -> bool:
        return preserve.tags

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        if found.tags or found.head.tag_count:
            yield "tags"

    def carry(self, write: Outgoing, kept: Kept) -> None:
        if not write.tags:
            return
        writable = tuple((k, v) for k, v in write.tags if not k.startswith("aws:"))
        if len(writable) < len(write.tags):
            write.dropped.append(("", "tags of the reserved kind aws:*"))
        if not writable:
            return
        if not any(kept.facts.denies(fact) for fact in _TAKEN[write.request]):
            encoded = tagging_header(writable)
            if len(encoded) <= MAX_TAG_HEADER:
                write.headers.append(("x-amz-tagging", encoded))
                return
        # A server that does not know ?tagging may take the XML for the object.
        if kept.facts.enforces(Fact.TAGGING):
            write.tags_after = writable
        else:
            write.dropped.append((self.loss, f"{len(writable)} tags"))

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        if sides.source_tags is None or sides.destination_tags is None:
            return
        expected = {k: v for k, v in sides.source_tags if not k.startswith("aws:")}
        actual = {k: v for k, v in sides.destination_tags if not k.startswith("aws:")}
        if not actual and self.loss in sides.accepted:
            return
        sides.found.extend(
            Difference(f"tag:{name}", expected.get(name, ""), actual.get(name, ""))
            for name in sorted(expected.keys() | actual.keys())
            if expected.get(name) != actual.get(name)
        )

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        if evidence.source_facts.rejects(Fact.TAGS_READABLE):
            yield FoundLoss(self.loss, "tags may not be read at the source (s3:GetObjectTagging), so none is copied")
        elif evidence.source_facts.denies(Fact.TAGS_READABLE):
            tagged = evidence.keys(lambda found: found.head.tag_count)
            if tagged:
                yield FoundLoss(self.loss, "the source reports tags but does not support GetObjectTagging", tagged)
        facts = evidence.destination_facts
        examples = evidence.keys(lambda found: found.tags or found.head.tag_count)
        if not examples or not facts.lacks(Fact.TAGGING):
            return
        if facts.lacks(Fact.TAGGING_HEADER):
            yield FoundLoss(self.loss, "the destination does not keep object tags", examples)
            return
        dropped = [request.value for request, taken in _TAKEN.items() if any(facts.denies(fact) for fact in taken)]
        if dropped:
            text = f"the destination drops the tags that come with {' and '.join(dropped)}, and takes none afterwards"
            yield FoundLoss(self.loss, text, examples)


def tagging_header(tags: Pairs) -> str:
    """Tags as the value of x-amz-tagging."""
    return "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in tags)
