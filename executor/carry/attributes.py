"""What an object carries besides its bytes, on its way from one head to the other. Pure.

`headers_for` says what a PUT or CreateMultipartUpload must send; `differences` says afterwards, field by field,
what did not arrive. Both walk the attributes that the plan keeps; each knows itself (see schema/attributes/).
"""

from __future__ import annotations

from collections.abc import Mapping

from schema.attributes.attribute import Difference, Kept, Outgoing, Sides

SIZE = "size"
"""The field of a Difference in the number of bytes."""


def headers_for(write: Outgoing, kept: Kept) -> Outgoing:
    """*write*, after every attribute that is *kept* has added what the destination must be sent for it.

    What the destination was seen to refuse is left out and named. Raises ObjectRefused, naming the key and the field,
    for what no header can carry and for a KMS key without a counterpart.
    """
    for attribute in kept.carried:
        attribute.carry(write, kept)
    return write


def differences(sides: Sides, kept: Kept) -> list[Difference]:
    """Every field that differs, in a fixed order; empty when the destination holds all that is *kept*."""
    source, destination = sides.source, sides.destination
    if source.size != destination.size:
        sides.found.append(Difference(SIZE, str(source.size), str(destination.size)))
    _compare_checksums(source.headers, destination.headers, sides.found)
    for attribute in kept.compared:
        attribute.compare(sides, kept.preserve)
    return sides.found


def _compare_checksums(want: Mapping[str, str], have: Mapping[str, str], found: list[Difference]) -> None:
    """Values of one algorithm over the same extent: all bytes on both sides, or the same part layout on both."""
    if want.get("x-amz-checksum-type", "FULL_OBJECT") != have.get("x-amz-checksum-type", "FULL_OBJECT"):
        return
    for name, expected in want.items():
        if "x-amz-checksum-" not in name or not name.startswith("x-amz-checksum-") or name == "x-amz-checksum-type":
            continue
        actual = have.get(name)
        if actual and actual != expected and "-" not in expected and "-" not in actual:
            found.append(Difference(name[len("x-amz-") :], expected, actual))
