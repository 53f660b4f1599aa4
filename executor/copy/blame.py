"""Whose fault a failure is: the object's own, or something that other objects would meet as well. Pure.

It decides whether later stages may follow. An error that is an object's own by its kind may still hit many objects: the
numbers decide that (see executor.ledger.advance).
"""

from __future__ import annotations

from schema.errors import (
    AccessRefused,
    DescriptorsExhausted,
    FeatureUnsupported,
    StoreError,
    UnsignedPayloadRefused,
    WhichSide,
)

READS = frozenset(("HeadObject", "GetObject"))
FEATURES = frozenset(
    (
        "NotImplemented",
        "UnsupportedOperation",
        "AccessControlListNotSupported",
        "InvalidStorageClass",
        "InvalidEncryptionAlgorithmError",
        "InvalidBucketState",
    )
)
"""Codes about what the endpoint cannot do, whatever the object."""


def is_own(error: StoreError) -> bool:
    """Whether *error* may well be this object's alone.

    Not where the endpoint refuses a feature or the right to write, nor where this machine is at its limits. An object
    that may not be read is one such object until there are more; so is one that is refused with a 400 that no feature
    explains, or breaks the server each time.
    """
    if isinstance(error, AccessRefused):
        return error.side is WhichSide.SOURCE and error.operation in READS
    if isinstance(error, FeatureUnsupported):
        return error.status == 400 and error.code not in FEATURES
    return not isinstance(error, (UnsignedPayloadRefused, DescriptorsExhausted))
