"""How long a request may take before it counts as lost: one table, by what the request does.

Most bounds are on silence: a transfer that moves at least a kilobyte a second never ends by them. Complete and
server-side copies are bounded from beginning to end, because a server may say nothing until they are done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from schema.formats.quantities import parse_duration

LEAST_SECONDS = 1
MOST_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In whole seconds, of every request of a plan, an apply and a verify."""

    connect: int = 10
    """To connect, TLS handshake included."""
    list: int = 300
    """Silence of a LIST: a page over many deleted keys may take minutes."""
    head: int = 60
    """Silence of a HEAD."""
    get: int = 60
    """Silence of a GET, before its first byte and between any two."""
    put: int = 120
    """Silence while an object or a part is sent, and after its last byte."""
    complete: int = 600
    """A whole CompleteMultipartUpload: some servers put the parts together first."""
    copy: int = 600
    """A whole CopyObject or UploadPartCopy."""
    other: int = 60
    """Silence of everything else: tags, ACLs, deletes, the bucket's settings."""


DEFAULT_TIMEOUTS = Timeouts()
NAMES = tuple(field.name for field in fields(Timeouts))


def parse_timeout(value: str | int) -> int:
    """Whole seconds of '45s', '5min', '1h' or a number of seconds. ValueError."""
    seconds = parse_duration(value)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise ValueError("a timeout is 1 second to 24 hours")
    return seconds


def timeouts_of(seconds: Mapping[str, Any]) -> Timeouts:
    """The timeouts in *seconds*, others at their defaults; None counts as not given."""
    return Timeouts(**{name: figure for name, figure in seconds.items() if figure is not None})
