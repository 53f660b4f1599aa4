"""One bad object among those that go first: it fails by name, and all the rest arrives. Row H of the reference.

A test is named after the id of its row; without the fault, the same is its control.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest
from support.operator import Operator
from support.quirk_proxy import Quirk, QuirkProxy, Refuses, Which

from executor import attempts
from executor.flow import endpoint, pace, throttled_keys

BAD = "0-bad"
OTHERS = tuple(f"{number:02}" for number in range(1, 10))


@contextlib.contextmanager
def begun(operator: Operator, side: str, keys: Sequence[str] = (BAD, *OTHERS)) -> Iterator[QuirkProxy]:
    """A plan of small objects with metadata, made through a proxy before *side* on which quirks may begin now."""
    client = operator.source.client()
    for key in keys:
        client.put_object(Bucket=operator.source_bucket, Key=key, Body=b"1" * 10, Metadata={"note": "n" * 40})
    with QuirkProxy(getattr(operator, side).endpoint_url) as proxy:
        setattr(operator, f"{side}_url", proxy.endpoint_url)
        operator.plan().ok()
        yield proxy


def arrived(operator: Operator) -> set[str]:
    """Keys at the destination."""
    listed = operator.destination.client().list_objects_v2(Bucket=operator.destination_bucket)
    return {entry["Key"] for entry in listed.get("Contents", ())}


def proven(operator: Operator, proxy: QuirkProxy, bad: set[str]) -> None:
    """All but the *bad* ones arrive; these are named, and arrive once they are well and tried again."""
    applied = operator.apply("--json")
    assert arrived(operator) == {BAD, *OTHERS} - bad, applied.err
    assert applied.code == (3 if bad else 0), applied.err
    assert {said["key"] for said in applied.lines("object_error") if said["final"]} == bad
    assert {line["key"] for line in operator.run("status", "--json").lines("failure")} == bad
    proxy.quirks = ()
    if bad:
        operator.run("retry").ok()
        operator.apply().ok()
    operator.verify("--level", "content").ok()
    operator.run("ledger", "check").ok()


def refusing(status: int, code: str, operation: str, key: str) -> Quirk:
    return Refuses(status, code, Which((operation,), key=key))


def test_several_at_once(on_moto: Operator) -> None:
    """meta-too-large, poison-500, an unreadable one: each of its own kind, the first object among them."""
    with begun(on_moto, "destination") as proxy:
        proxy.quirks = (
            refusing(500, "InternalError", "put", BAD),
            refusing(400, "MetadataTooLarge", "put", OTHERS[-1]),
            refusing(413, "", "put", OTHERS[2]),
        )
        proven(on_moto, proxy, {BAD, OTHERS[-1], OTHERS[2]})


def test_control(on_moto: Operator) -> None:
    with begun(on_moto, "destination") as proxy:
        proven(on_moto, proxy, set())


FAULTS: dict[str, tuple[str, Quirk]] = {
    "poison-500": ("destination", refusing(500, "InternalError", "put", BAD)),
    "poison-500-source": ("source", refusing(500, "InternalError", "get", BAD)),
    "poison-502": ("destination", refusing(502, "", "put", BAD)),
    "meta-too-large": ("destination", refusing(400, "MetadataTooLarge", "put", BAD)),
    "meta-too-large-413": ("destination", refusing(413, "", "put", BAD)),
    "refused-431": ("destination", refusing(431, "", "put", BAD)),
    "invalid-argument": ("destination", refusing(400, "InvalidArgument", "put", BAD)),
    "unreadable": ("source", refusing(403, "AccessDenied", "get", BAD)),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", FAULTS)
def test_first_object(on_moto: Operator, name: str) -> None:
    side, quirk = FAULTS[name]
    with begun(on_moto, side) as proxy:
        proxy.quirks = (quirk,)
        proven(on_moto, proxy, {BAD})


def test_poison_503(on_moto: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only questions of ours are answered meanwhile: nothing else may start yet."""
    monkeypatch.setattr(attempts, "delay", lambda *_, **__: 0.05)
    monkeypatch.setattr(throttled_keys, "HOPELESS_SECONDS", 0.5)
    monkeypatch.setattr(endpoint, "ASK_AFTER_SECONDS", 0.02)
    monkeypatch.setattr(endpoint, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(pace, "LEAST_RATE", 50.0)
    monkeypatch.setattr("executor.apply.endpoint_watch.ASK_SECONDS", 0.0)
    with begun(on_moto, "source") as proxy:
        proxy.quirks = (refusing(503, "SlowDown", "get", BAD),)
        proven(on_moto, proxy, {BAD})


@pytest.mark.parametrize(
    ("status", "code", "key"),
    [
        (501, "NotImplemented", BAD),
        (403, "AccessDenied", BAD),
        (400, "MetadataTooLarge", "."),
    ],
)
def test_what_would_hit_many_stops_the_stage(on_moto: Operator, status: int, code: str, key: str) -> None:
    """An endpoint's refusal of a feature, of a permission, and what most objects of the canary meet."""
    with begun(on_moto, "destination") as proxy:
        proxy.quirks = (refusing(status, code, "put", key),)
        applied = on_moto.apply()
        assert applied.code == 3
        assert len(arrived(on_moto)) < len(OTHERS) / 2
        assert "never tried" in applied.err and code in applied.err, applied.err
        proxy.quirks = ()
        on_moto.run("retry").ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()


# --- what is left behind is named ----------------------------------------------------------------------------------


def test_drifted_keys_and_what_is_left_alone_are_named(on_moto: Operator) -> None:
    """F9 and F10: status by key, no retry offered, explain of a destination's own key, verify's report."""
    there = on_moto.destination.client()
    there.put_object(Bucket=on_moto.destination_bucket, Key="only-there", Body=b"theirs")
    there.put_object(Bucket=on_moto.destination_bucket, Key="conflict", Body=b"another")
    on_moto.more = {"policy": {"transfer": "stream", "on_destination_newer": "conflict", "on_different": "conflict"}}
    with begun(on_moto, "source", (*OTHERS, "conflict")):
        on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key=OTHERS[0], Body=b"changed since")
        applied = on_moto.apply()
        assert applied.code == 3 and "retry" not in applied.err and "plan again" in applied.err, applied.err
        (line,) = on_moto.run("status", "--json").lines("drift")
        assert (line["key"], line["class"]) == (OTHERS[0], "source_changed")
        assert f"drifted: {OTHERS[0]}: source_changed: changed at the source" in on_moto.run("status").out
        explained = on_moto.run("explain", "only-there").ok().out
        assert "source etag" not in explained and "destination etag" in explained, explained
        on_moto.plan().ok()
        on_moto.apply().ok()
        report = on_moto.folder / "report.json"
        verified = on_moto.verify("--report", report).ok()
        assert "not migrated, as planned: 1 key (1 conflict)" in verified.err, verified.err
        assert '"not-migrated", "key": "conflict"' in report.read_text(), report.read_text()
