"""A source that lists in odd ways, from plan to verify: what can arrive does, and the rest is named."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import yaml
from support.corpus import CorpusObject
from support.operator import Operator, Ran, moved
from support.oracle import compare, fill, write
from support.quirk_proxy import Quirk, QuirkProxy, Refuses, Rewrites, Which

LISTS = Which(operations=("list", "list-versions"))
NAMES = ("a b", "a+b", "bad", "c/", "plain", "\u00e9")


def in_keys(change: Callable[[bytes], bytes]) -> Quirk:
    return Rewrites(lambda body: re.sub(rb"(?<=<Key>)[^<]*(?=</Key>)", lambda found: change(found[0]), body), LISTS)


PLUS_RAW = in_keys(lambda key: key.replace(b"+", b"%20").replace(b"%2B", b"+"))
NOT_UTF8 = in_keys(lambda key: key.replace(b"bad", b"b%FFd"))
RAW_CONTROL = in_keys(lambda key: key.replace(b"bad", b"b\x01d"))
SIZES_UNTOLD = Rewrites(lambda body: re.sub(rb"<Size>\d+</Size>|<ETag>[^<]*</ETag>", b"", body), LISTS)
V1_ONLY = Refuses(501, "NotImplemented", Which(query="list-type"))


@pytest.fixture
def filled(on_moto: Operator) -> Operator:
    objects = [CorpusObject(name, 10 + number, number) for number, name in enumerate(NAMES)]
    fill(on_moto.source_side.client, on_moto.source_bucket, objects)
    return on_moto


def migrated(operator: Operator, *quirks: Quirk, **declared: object) -> tuple[Ran, Ran, Ran]:
    """plan, apply, verify with the source behind *quirks*."""
    with QuirkProxy(operator.source.endpoint_url, *quirks) as proxy:
        operator.source_url = proxy.endpoint_url
        operator.declare(**declared)
        return operator.plan(), operator.apply(), operator.verify("--level", "content", "--json")


@pytest.mark.parametrize("quirks", [(), (PLUS_RAW,), (SIZES_UNTOLD,), (V1_ONLY,), (V1_ONLY, PLUS_RAW, SIZES_UNTOLD)])
def test_plus_unescaped_v1_only_and_untold_sizes_lose_nothing(filled: Operator, quirks: tuple[Quirk, ...]) -> None:
    """The first is the control."""
    planned, applied, verified = migrated(filled, *quirks)

    assert [planned.code, applied.code, verified.code] == [0, 0, 0], planned.err + applied.err + verified.err
    assert compare(filled.source_side, filled.destination_side) == []


@pytest.mark.parametrize(("quirk", "shown"), [(NOT_UTF8, "b\\udcffd"), (RAW_CONTROL, "b\\x01d")])
def test_one_bad_key_is_named_and_everything_else_arrives(filled: Operator, quirk: Quirk, shown: str) -> None:
    planned, applied, verified = migrated(filled, quirk)

    assert [planned.code, applied.code, verified.code] == [0, 0, 0], planned.err + applied.err + verified.err
    assert filled.summary()["unsupported"]["objects"] == 1
    there = {difference.key for difference in compare(filled.source_side, filled.destination_side)}
    assert there == {"bad"}
    text = filled.run("show", filled.plan_path, "--batch", "unsupported").out
    assert shown in text
    assert "exclude it" in text
    text.encode()


def test_one_bad_key_can_be_excluded(filled: Operator) -> None:
    planned, applied, _ = migrated(filled, NOT_UTF8, filters={"exclude": ["b?d"]})

    assert [planned.code, applied.code] == [0, 0], planned.err + applied.err
    summary = filled.summary()
    assert summary["excluded"]["objects"] == 1
    assert "unsupported" not in summary or summary["unsupported"]["objects"] == 0


def of_plain(change: Callable[[bytes], bytes]) -> Quirk:
    """Changes what is listed of the key `plain`."""

    def one(found: re.Match[bytes]) -> bytes:
        return change(found[0]) if b"<Key>plain</Key>" in found[0] else found[0]

    return Rewrites(lambda body: re.sub(rb"<Contents>.*?</Contents>", one, body, flags=re.DOTALL), LISTS)


OTHER_ETAG = of_plain(lambda entry: re.sub(rb"[0-9a-f]{32}", b"f" * 32, entry))
NO_SIZE = of_plain(lambda entry: re.sub(rb"<Size>\d+", b"<Size>0", re.sub(rb"([0-9a-f]{32})", rb"\1-2", entry)))


@pytest.mark.soak
def test_list_head_disagree_is_no_change_but_a_failure_by_name_with_a_way_on(filled: Operator) -> None:
    # The survey looks at the first two hundred only: `plain` is behind them.
    more = [CorpusObject(f"m{number:03d}", 1, number) for number in range(210)]
    fill(filled.source_side.client, filled.source_bucket, more)
    planned, applied, _ = migrated(filled, OTHER_ETAG)

    assert [planned.code, applied.code] == [0, 3], applied.err
    assert "plain: ListingAndHeadDisagree: listing and head disagree" in applied.err
    assert "--believe head" in applied.err
    assert {found.key for found in compare(filled.source_side, filled.destination_side)} == {"plain"}
    with QuirkProxy(filled.source.endpoint_url, OTHER_ETAG) as proxy:
        filled.source_url = proxy.endpoint_url
        filled.declare()
        ran = [filled.plan("--believe", "head"), filled.apply(), filled.verify("--level", "content")]
    assert [each.code for each in ran] == [0, 0, 0], ran
    assert compare(filled.source_side, filled.destination_side) == []


def test_list_head_disagree_control_an_object_that_did_change_is_drift(filled: Operator) -> None:
    assert filled.plan().code == 0
    write(filled.source_side.client, filled.source_bucket, CorpusObject("plain", 99, 99))
    applied = filled.apply()

    assert applied.code == 3
    assert "plain: source_changed" in applied.err


def test_list_head_disagree_no_bytes_in_several_parts_are_asked_while_planning(filled: Operator) -> None:
    planned, applied, verified = migrated(filled, NO_SIZE)

    assert [planned.code, applied.code, verified.code] == [0, 0, 0], planned.err + applied.err + verified.out
    assert compare(filled.source_side, filled.destination_side) == []


def versioned(operator: Operator, *, marker: bool) -> None:
    """Two keys with four versions; *marker*: the third of `k` is a delete marker."""
    for client, name in (
        (operator.source_side.client, operator.source_bucket),
        (operator.destination_side.client, operator.destination_bucket),
    ):
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    client = operator.source_side.client
    for key in ("k", "other"):
        for number in range(4):
            if marker and number == 2 and key == "k":
                client.delete_object(Bucket=operator.source_bucket, Key=key)
            else:
                write(client, operator.source_bucket, CorpusObject(key, 10 + number, number))


def risks(operator: Operator) -> set[str]:
    return {risk["id"] for risk in yaml.safe_load(operator.plan_path.read_text())["risks"]}


@pytest.mark.parametrize("same", [True, False])
def test_versions_in_the_same_second_are_a_risk_and_verify_says_so(on_moto: Operator, same: bool) -> None:
    """moto lists markers apart, with whole seconds."""
    versioned(on_moto, marker=True)
    seconds = iter(range(10**6))
    made = {"second": lambda: "05" if same else f"{59 - next(seconds) % 60:02d}"}

    def time(_found: object) -> bytes:
        return f"<LastModified>2024-01-01T00:00:{made['second']()}.000Z<".encode()

    quirk = Rewrites(lambda body: re.sub(rb"<LastModified>[^<]*<", time, body), Which(operations=("list-versions",)))
    planned, applied, verified = migrated(on_moto, quirk, policy={"versions": "all"})

    assert [planned.code, applied.code] == [0, 0], planned.err + applied.err
    assert ("version-order" in risks(on_moto)) == same
    assert [line["verdict"] for line in verified.lines("note")] == (["order-unknown"] if same else [])


@pytest.mark.parametrize("how", ["none", "many", "control"])
def test_versions_latest_one_key_is_unsupported_and_the_other_arrives(on_moto: Operator, how: str) -> None:
    versioned(on_moto, marker=False)
    changed = {"none": b"false", "many": b"true", "control": b""}[how]

    def spoil(body: bytes) -> bytes:
        def one(found: re.Match[bytes]) -> bytes:
            if not changed or b"<Key>other</Key>" not in found[0]:
                return found[0]
            return re.sub(rb"(?<=<IsLatest>)\w+", changed, found[0])

        return re.sub(rb"<Version>.*?</Version>", one, body, flags=re.DOTALL)

    quirk = Rewrites(spoil, Which(operations=("list-versions",)))
    planned, applied, verified = migrated(on_moto, quirk, policy={"versions": "all"})

    assert [planned.code, applied.code, verified.code] == [0, 0, 0], planned.err + applied.err + verified.out
    assert on_moto.summary()["unsupported"]["objects"] == (0 if how == "control" else 4)
    client = on_moto.destination_side.client
    there = client.list_objects_v2(Bucket=on_moto.destination_bucket).get("Contents", [])
    assert [found["Key"] for found in there] == (["k", "other"] if how == "control" else ["k"])


EVERY_ETAG = Rewrites(
    lambda body: re.sub(rb"(?<=<ETag>)[^<]*", lambda found: found[0].replace(b"a", b"b").replace(b"1", b"2"), body),
    Which(operations=("list",)),
)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_list_etag_differs_is_seen_by_the_probe_and_each_object_is_asked(filled: Operator, side: str) -> None:
    """Plan, apply, verify at every level, and a plan after it that finds nothing to do."""
    with QuirkProxy(filled.source.endpoint_url, EVERY_ETAG) as proxy:
        setattr(filled, f"{side}_url", proxy.endpoint_url)
        filled.declare()
        moved(filled, levels=("listing", "content"))
    assert compare(filled.source_side, filled.destination_side) == []
    facts = yaml.safe_load(filled.plan_path.read_text())["sections"][0][f"{side}_capabilities"]
    assert facts["listed_etag"] == "ignored"
