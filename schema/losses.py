"""Every id that a loss may have: those of the attributes, and two of keys and history."""

from __future__ import annotations

from typing import Final

from schema.attributes.every import ATTRIBUTES

ODD_KEYS: Final = "odd-keys"
VERSIONS: Final = "versions"
LOSSES: Final = frozenset((ODD_KEYS, VERSIONS, *(loss for attribute in ATTRIBUTES for loss in attribute.losses)))
