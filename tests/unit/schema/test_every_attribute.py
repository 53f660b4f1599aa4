"""The list of attributes: every switch has its attribute, and no two speak for the same loss or fact."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from schema.attributes.every import ATTRIBUTES, FEATURES, kept
from schema.declaration import Preserve
from schema.facts import Capabilities

CHANGED: dict[str, object] = {
    "system_headers": False,
    "user_metadata": False,
    "tags": False,
    "website_redirect": False,
    "encryption": {"mode": "keep"},
    "acl": True,
    "object_lock": "governance",
    "legal_hold": True,
    "part_layout": True,
    "last_modified": "original",
}
NOT_SWITCHES = {"storage_class", "storage_class_map", "acl_grantees", "checksums"}
"""Say how, not whether: a storage class and a proof always go with the object."""


def test_every_field_of_preserve_is_a_switch_or_says_how() -> None:
    assert {field.name for field in dataclasses.fields(Preserve)} == CHANGED.keys() | NOT_SWITCHES


@pytest.mark.parametrize("switch", CHANGED)
def test_a_switch_turns_one_attribute(switch: str) -> None:
    changed = dataclasses.replace(Preserve(), **{switch: CHANGED[switch]})  # type: ignore[arg-type]
    turned = [each for each in ATTRIBUTES if each.asked(Preserve()) != each.asked(changed)]
    assert len(turned) == 1
    before, after = (kept(preserve, Capabilities()) for preserve in (Preserve(), changed))
    assert (before.carried, before.compared) != (after.carried, after.compared)


def test_losses_and_facts_belong_to_one_attribute_each() -> None:
    losses = Counter(loss for each in ATTRIBUTES for loss in each.losses)
    facts = Counter(feature.fact for feature in FEATURES)
    assert set(losses.values()) == set(facts.values()) == {1}
