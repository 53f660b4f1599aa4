"""What a probe found, asked in words that mypy knows."""

from __future__ import annotations

import pytest

from schema.facts import ABSENT, Capabilities, Fact, Finding, Setting
from schema.storage_classes import class_fact


@pytest.mark.parametrize(
    ("found", "enforces", "rejects", "denies", "lacks"),
    [
        (None, False, False, False, False),
        (Finding.ENFORCED, True, False, False, False),
        (Finding.IGNORED, False, False, True, True),
        (Finding.REJECTED, False, True, True, True),
        (Finding.UNKNOWN, False, False, False, True),
        ("a word of another version", False, False, False, False),
    ],
)
@pytest.mark.parametrize("fact", [Fact.IF_MATCH, class_fact("GLACIER")])
def test_the_questions(fact: Fact, found: str | None, enforces: bool, rejects: bool, denies: bool, lacks: bool) -> None:
    can = Capabilities({str(fact): str(found), "fact_of_another_version": "enforced"} if found else {})
    answers = (can.enforces(fact), can.rejects(fact), can.denies(fact), can.lacks(fact))
    assert answers == (enforces, rejects, denies, lacks)
    assert can.asked(fact) == (found is not None)
    assert can.finding(fact) == (found if found in set(Finding) else None)


def test_what_goes_into_a_plan_is_plain_text_in_one_order() -> None:
    can = Capabilities.of({Setting.PROBE: "why", Fact.ACL: Finding.IGNORED, class_fact("GLACIER"): Finding.ENFORCED})
    assert list(can.facts.items()) == [("acl", "ignored"), ("probe", "why"), ("storage_class_glacier", "enforced")]
    assert {type(word) for pair in can.facts.items() for word in pair} == {str}


@pytest.mark.parametrize(
    ("words", "retention"), [(None, ""), (ABSENT, ""), ("unknown", ""), ("GOVERNANCE 1 days", "GOVERNANCE 1 days")]
)
def test_the_default_retention_is_what_locks_every_new_object(words: str | None, retention: str) -> None:
    can = Capabilities({"bucket_default_retention": words} if words else {})
    assert can.default_retention == retention
    assert can.setting(Setting.BUCKET_DEFAULT_RETENTION) == (words or "")


def test_no_fact_is_a_setting() -> None:
    assert {fact.value for fact in Fact}.isdisjoint(setting.value for setting in Setting)
