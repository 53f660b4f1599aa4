"""The list of all attributes, which the write, the comparison, the probe and the losses walk.

To add one: a class in this folder and a line here (a header that is stored as it is sent: a few lines at the end of
headers.py), the switch in declaration.Preserve and in both JSON schemas, and a member of facts.Fact if a probe can see
whether the destination keeps it. An attribute that takes a request of its own is read, and sent after the write, in
executor/carry/carriage.py.
"""

from __future__ import annotations

from typing import Final

from schema.attributes.attribute import Attribute, Feature, Kept
from schema.attributes.headers import HEADERS, dropped_characters, lost_headers, metadata_limit, refused_headers
from schema.attributes.layout import Annotations, PartLayout
from schema.attributes.protection import Acl, Encryption, LegalHold, Retention
from schema.attributes.storage_class import StorageClass
from schema.attributes.tags import Tags
from schema.declaration import Preserve
from schema.facts import Capabilities, Setting
from schema.server_headers import ServerHeaders

ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    *HEADERS,
    StorageClass(),
    Encryption(),
    Retention(),
    LegalHold(),
    Tags(),
    PartLayout(),
    Acl(),
    Annotations(),
)
"""In the order in which differences and losses are shown."""

ODD_KEYS: Final = "odd-keys"
VERSIONS: Final = "versions"
LOSSES: Final = frozenset((ODD_KEYS, VERSIONS, *(loss for each in ATTRIBUTES for loss in each.losses)))
"""Every id that a loss may have: those of the attributes, and two of keys and history."""

FEATURES: Final[tuple[Feature, ...]] = tuple(feature for each in ATTRIBUTES for feature in each.features)


NOTHING_KNOWN: Final = Capabilities()


def kept(
    preserve: Preserve, facts: Capabilities, *, source: Capabilities = NOTHING_KNOWN, customer_key: bool = False
) -> Kept:
    """What *preserve* asks for, on the way from *source* to a destination of these *facts*."""
    asked = [attribute for attribute in ATTRIBUTES if attribute.asked(preserve)]
    carried = tuple(each for each in asked if type(each).carry is not Attribute.carry)
    compared = tuple(each for each in asked if type(each).compare is not Attribute.compare)
    own = [ServerHeaders.read(end.setting(Setting.SERVER_HEADERS)) for end in (source, facts)]
    limits = dropped_characters(facts), metadata_limit(facts), lost_headers(facts), refused_headers(facts)
    return Kept(preserve, facts, customer_key, own[0], own[1], carried, compared, *limits)
