"""The finding behind a server's answer, and the bodies and preconditions that the checks send to get one.

A feature is 'enforced' only when a request that violates it was refused and one that honours it was accepted; 'ignored'
when the violation passed; 'rejected' when the server does not accept the feature at all; 'unknown' when the server's
answers were inconclusive. Every check answers all its facts, whatever fails.
"""

from __future__ import annotations

from typing import Final

from schema.errors import AccessRefused, DestinationChanged, ObjectChanged, StoreError
from schema.facts import Finding
from storage.port import Guard
from storage.probe.canary import TRANSIENT

ENFORCED: Final = Finding.ENFORCED
IGNORED: Final = Finding.IGNORED
REJECTED: Final = Finding.REJECTED
UNKNOWN: Final = Finding.UNKNOWN
BODY: Final = b"s3migrate probe"
WRONG: Final = b"s3migrate other"
NO_ETAG: Final = "0" * 32
CREATE_ONLY: Final = Guard(if_none_match=True)


def refusal(error: StoreError) -> Finding:
    """The finding behind an error that is not the one a violation should meet."""
    return UNKNOWN if isinstance(error, (*TRANSIENT, AccessRefused)) else REJECTED


def honoured(answer: object) -> Finding:
    """The finding behind the answer to a request whose condition holds, after one whose does not was refused.

    A server that refuses both does not evaluate it: no request may carry it.
    """
    if not isinstance(answer, StoreError):
        return ENFORCED
    return REJECTED if answer.status == 412 else refusal(answer)


def precondition(answer: object) -> Finding:
    """The finding behind the answer to a write whose precondition does not hold."""
    if isinstance(answer, (DestinationChanged, ObjectChanged)):
        return ENFORCED
    return refusal(answer) if isinstance(answer, StoreError) else IGNORED
