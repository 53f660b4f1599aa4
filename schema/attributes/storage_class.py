"""The storage class: always kept, in the way preserve.storage_class says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schema.attributes.attribute import Attribute, Difference, Kept, Outgoing, Sides
from schema.attributes.evidence import Evidence, FoundLoss, counted
from schema.declaration import Preserve
from schema.storage_classes import STANDARD, class_fact, target_storage_class


class StorageClass(Attribute):
    """The class an object is stored in."""

    loss: Final = "storage-class"
    losses = (loss,)

    def asked(self, preserve: Preserve) -> bool:
        return True

    def carry(self, write: Outgoing, kept: Kept) -> None:
        wanted = target_storage_class(write.head.headers.get("x-amz-storage-class", STANDARD), kept.preserve)
        if wanted == STANDARD:
            return
        if kept.facts.rejects(class_fact(wanted)):
            write.dropped.append((self.loss, f"storage class {wanted}"))
        else:
            write.headers.append(("x-amz-storage-class", wanted))

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        wanted, actual = target_storage_class(sides.source.storage_class, preserve), sides.destination.storage_class
        if actual != wanted and not (self.loss in sides.accepted and actual == STANDARD):
            sides.found.append(Difference(self.loss, wanted, actual))

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        sampled = counted((found.head.storage_class, found.key) for found in evidence.sample)
        exact = bool(evidence.storage_classes)
        for name, objects in sorted((evidence.storage_classes or sampled).items()):
            wanted = target_storage_class(name, evidence.preserve)
            if wanted != STANDARD and evidence.destination_facts.denies(class_fact(wanted)):
                text = f"the destination does not keep storage class {wanted}; objects land in its default class"
                yield FoundLoss(self.loss, text, objects.examples, objects.objects if exact else None)
