"""Quirks of every kind, combined at random on both sides of a random corpus, judged by the oracle.

`make soak` tries 300 combinations, others each time; a few fixed ones run always. See support.quirk_trial for what is
promised whatever a server does. QUIRK_TRIALS sets the number.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.corpus import CorpusObject
from support.oracle import Bucket, Difference, compare, write
from support.quirk_catalogue import CATALOGUE, Row
from support.quirk_trial import Case, corpus, says_the_same, tried
from support.servers import MotoServer

TRIALS = int(os.environ.get("QUIRK_TRIALS", "300"))


def rows(side: str) -> st.SearchStrategy[tuple[str, ...]]:
    """None to three of that side's."""
    names = [row.name for row in CATALOGUE if side in row.sides]
    return st.lists(st.sampled_from(names), max_size=3, unique=True).map(tuple)


CASES = st.builds(
    Case,
    rows("source"),
    rows("destination"),
    st.integers(0, 2**32),
    versions=st.sampled_from((False, False, False, True)),
    transfer=st.sampled_from(("stream", "stream", "auto")),
    layout=st.booleans(),
    parts=st.sampled_from((False, False, True)),
)


@pytest.mark.soak
@settings(
    max_examples=TRIALS,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=CASES)
def test_no_combination_loses_anything_unseen(
    moto_server: MotoServer, ledger_url: str, tmp_path: Path, case: Case
) -> None:
    outcome = tried(case, moto_server, ledger_url, tmp_path)
    assert outcome.problem == "", (case, outcome)


@pytest.mark.parametrize(
    "case",
    [
        Case(("tags-no-count", "etag-weak"), ("create-tags", "meta-underscore"), 1),
        Case(("v1-only", "small-pages"), ("conditions-refused", "put-tags"), 2),
    ],
    ids=["told-and-kept", "listed-and-guarded"],
)
def test_fixed_combinations(moto_server: MotoServer, ledger_url: str, tmp_path: Path, case: Case) -> None:
    outcome = tried(case, moto_server, ledger_url, tmp_path)
    assert (outcome.problem, outcome.codes[-1], outcome.differences) == ("", 0, ()), outcome


def test_control_the_judge_sees_what_differs(moto_server: MotoServer, bucket_name: str) -> None:
    """The oracle tells a byte, a tag, a header and an entry of metadata apart: the trials could fail."""
    client, names = moto_server.client(), [moto_server.create_bucket(f"{bucket_name}-{n}") for n in "ab"]
    here = CorpusObject("k", 5, 1, {"ContentType": "a/b"}, {"m": "1"}, {"t": "1"})
    there = CorpusObject("k", 5, 2, {"ContentType": "a/c"}, {"m": "2"}, {"t": "2"})
    for name, one in zip(names, (here, there), strict=True):
        write(client, name, one)
    found: list[Difference] = compare(Bucket(client, names[0]), Bucket(client, names[1]))
    assert {each.field for each in found} == {"bytes", "ContentType", "metadata", "tags"}


def test_control_each_corpus_and_each_row_is_its_own() -> None:
    assert len({row.name for row in CATALOGUE}) == len(CATALOGUE)
    assert {row.kind for row in CATALOGUE} >= set("ABCDEFGH")
    assert all(isinstance(row, Row) and row.make() is not None for row in CATALOGUE)
    assert corpus(Case((), (), 1)) == corpus(Case((), (), 1)) != corpus(Case((), (), 2))


@pytest.mark.parametrize(
    ("field", "a", "b", "same"),
    [
        ("ContentType", "Text/X-Odd", "text/x-odd", True),
        ("ContentType", "text/plain; charset=utf-8", "text/plain;charset=UTF-8", True),
        ("ContentType", "text/plain; charset=utf-8", "text/plain", False),
        ("ContentType", "a/b", None, False),
        ("CacheControl", "max-age=9", "Max-Age=9", False),
        ("metadata", {"a": "V"}, {"a": "v"}, False),
    ],
)
def test_control_the_judge_excuses_spelling_only(field: str, a: object, b: object, *, same: bool) -> None:
    assert says_the_same(Difference("k", field, a, b)) is same
