"""The world moved between plan and apply; some objects are refused: nothing is lost and nothing silently changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import yaml
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Rule, error, slow_down
from support.operator import Operator
from support.oracle import Bucket, compare, describe, fill, keys, write

from schema.tiers import MIB


@pytest.fixture
def filled(on_moto: Operator, seed: int) -> Operator:
    """Six small objects at the source."""
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 6, largest=1000, prefix="p/"))
    return on_moto


@pytest.fixture
def proxied(filled: Operator, seed: int) -> Iterator[tuple[Operator, FaultProxy]]:
    """The same, planned with a proxy before the destination."""
    with FaultProxy(filled.destination.endpoint_url, seed=seed) as proxy:
        filled.destination_url = proxy.endpoint_url
        assert filled.plan().code == 0
        yield filled, proxy


def first_key(operator: Operator) -> str:
    return keys(operator.source_side)[0]


def canaries(operator: Operator) -> set[str]:
    """Keys of the canary stage: a failure there holds everything else back, by design."""
    document = yaml.safe_load(operator.plan_path.read_text())
    found: set[str] = set()
    for batch in document["batches"]:
        if batch["stage"] == "canary":
            shown = operator.run("show", operator.plan_path, "--batch", batch["id"], "--format", "json")
            found |= {json.loads(line)["key"] for line in shown.out.splitlines()}
    return found


def test_a_source_object_changed_since_the_plan_is_left_alone(filled: Operator) -> None:
    assert filled.plan().code == 0
    changed = first_key(filled)
    write(filled.source.client(), filled.source_bucket, CorpusObject(changed, 77, 5))
    filled.source.client().delete_object(Bucket=filled.source_bucket, Key=keys(filled.source_side)[1])
    ran = filled.apply()
    assert ran.code == 3, ran.err
    assert changed in ran.err
    assert len(keys(filled.destination_side)) == 4
    assert changed not in keys(filled.destination_side)
    assert filled.verify().code == 8
    assert filled.plan("--detailed-exitcode").code == 2
    assert filled.apply().code == 0
    assert compare(filled.source_side, filled.destination_side) == []
    assert filled.verify().code == 0


def test_if_source_changes_fail_counts_a_failure(filled: Operator) -> None:
    filled.declare(policy={"if_source_changes": "fail"})
    assert filled.plan().code == 0
    write(filled.source.client(), filled.source_bucket, CorpusObject(first_key(filled), 77, 5))
    assert filled.apply().code == 3
    assert filled.run("status", "--json").lines("status")[0]["failed"] == 1


@pytest.mark.parametrize("server", ["enforces", "ignores"])
def test_a_destination_object_that_appeared_is_a_conflict_and_untouched(
    request: pytest.FixtureRequest, server: str, seed: int
) -> None:
    operator: Operator = request.getfixturevalue("on_moto" if server == "enforces" else "on_rclone")
    objects = [*mixed(seed, 5, largest=1000, tags=False), CorpusObject("big", 7 * MIB, seed, metadata={"a": "b"})]
    fill(operator.source.client(), operator.source_bucket, objects)
    operator.declare(limits={"memory": "12MiB"})
    operator.plan().ok()
    same, other, big = objects[0], objects[1], objects[-1]
    stranger = CorpusObject(other.key, 55, 4711)
    strange_big = CorpusObject("big", 7 * MIB, 4712)
    fill(operator.destination.client(), operator.destination_bucket, [same, stranger, strange_big])
    before = [describe(operator.destination_side, key, ("bytes", "metadata")) for key in (other.key, big.key)]
    ran = operator.apply("--json")
    assert ran.code == 3, ran.err
    after = [describe(operator.destination_side, key, ("bytes", "metadata")) for key in (other.key, big.key)]
    assert after == before
    outcomes = ran.lines("run_complete")[0]
    assert outcomes["done"] == len(objects)
    told = {line.get("key") for line in ran.lines() if line["type"] == "object" or "trouble" in line["type"]}
    assert {other.key, big.key} <= told or all(key in ran.out for key in (other.key, big.key))
    found = compare(operator.source_side, operator.destination_side, fields=("bytes", "metadata"))
    assert {difference.key for difference in found} == {other.key, big.key}
    assert operator.verify().code == 8


# --- policies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"on_different": "overwrite", "on_destination_newer": "overwrite"}, "overwrite"),
        ({"on_different": "skip", "on_destination_newer": "skip"}, "skip"),
        ({"on_different": "conflict"}, "conflict"),
    ],
)
def test_what_differs_goes_by_the_policy(filled: Operator, policy: dict[str, str], expected: str) -> None:
    """Whether the destination is newer depends on the second in which each side was written: both rules say the same;
    which of them speaks is unit/planner/test_decide.py's.
    """
    key = first_key(filled)
    write(filled.destination.client(), filled.destination_bucket, CorpusObject(key, 123, 9))
    before = describe(filled.destination_side, key)
    filled.declare(policy=policy, guards={"max_overwrites": 1})
    filled.plan().ok()
    summary = filled.summary()
    assert summary[expected]["objects"] == 1
    assert summary["copy"]["objects"] == 5
    assert sum(summary[n]["objects"] for n in ("copy", "overwrite", "skip", "conflict") if n in summary) == 6
    if expected in ("skip", "conflict"):
        shown = filled.run("show", filled.plan_path, "--batch", expected)
        assert (shown.code, key in shown.out) == (0, True), shown.err
    filled.apply().ok()
    if expected == "overwrite":
        assert compare(filled.source_side, filled.destination_side) == []
    else:
        assert describe(filled.destination_side, key) == before
        assert {d.key for d in compare(filled.source_side, filled.destination_side)} == {key}
    verified = filled.verify()
    assert verified.code == 0, verified.err  # left alone by decision, and accounted for


def test_filters_leave_out_and_account_for(filled: Operator) -> None:
    write(filled.source.client(), filled.source_bucket, CorpusObject("tmp/x", 5, 1))
    write(filled.destination.client(), filled.destination_bucket, CorpusObject("mine", 5, 1))
    filled.declare(filters={"exclude": ["tmp/**"]})
    assert filled.plan().code == 0
    summary = filled.summary()
    assert (summary["excluded"]["objects"], summary["copy"]["objects"]) == (1, 6)
    shown = filled.run("show", filled.plan_path, "--batch", "excluded", "--format", "json")
    assert '"tmp/x"' in shown.out
    assert filled.apply().code == 0
    found = compare(filled.source_side, filled.destination_side)
    assert {(d.key, d.field) for d in found} == {("tmp/x", "missing"), ("mine", "extra")}
    assert filled.verify("--level", "content").code == 0


# --- failures -----------------------------------------------------------------------------------------------


def test_access_denied_on_one_object_fails_it_and_retry_mends_it(
    proxied: tuple[Operator, FaultProxy], sql: Callable[..., list[tuple[object, ...]]]
) -> None:
    operator, proxy = proxied
    key = next(key for key in keys(operator.source_side) if key not in canaries(operator))
    proxy.rules = [Rule(error(403, "AccessDenied"), operations=("put",), key=key)]
    ran = operator.apply()
    assert ran.code == 3, ran.err
    assert key in ran.err
    assert "AccessDenied" in ran.err
    assert set(keys(operator.source_side)) - set(keys(operator.destination_side)) == {key}
    assert operator.apply().code == 3
    status = operator.run("status", "--json")
    assert [line["class"] for line in status.lines("failure")] == ["AccessDenied"]
    proxy.rules = []
    proxy.forget()
    assert operator.run("retry").code == 0
    by = "SELECT DISTINCT actor FROM ledger.audit WHERE kind = '{}'".format
    assert sql(by("retried")) == sql(by("plan-accepted")) != [], "who did it, as for the run itself"
    operator.apply().ok()
    assert compare(operator.source_side, operator.destination_side) == []
    assert {e.key for e in proxy.history if e.operation == "put"} == {key}
    assert operator.verify().code == 0


def test_access_denied_on_every_object_stops_early(on_moto: Operator, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 90, largest=100, tags=False))
    with FaultProxy(on_moto.destination.endpoint_url) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.declare(limits={"workers": 4})
        assert on_moto.plan().code == 0
        probed = proxy.count("put")
        proxy.rules = [Rule(error(403, "AccessDenied"), operations=("put",), skip=1)]
        ran = on_moto.apply()
        assert ran.code in (77, 3), ran.err
        # The one success may be noted after the refusal of others: one, 24, then 25 in a row, four in flight.
        assert proxy.count("put") - probed <= 1 + 24 + 25 + 4
        proxy.rules = []
        on_moto.run("retry")
        on_moto.apply().ok()
        assert compare(on_moto.source_side, on_moto.destination_side) == []


@pytest.mark.soak
def test_a_storm_of_503_fails_no_object(proxied: tuple[Operator, FaultProxy]) -> None:
    operator, proxy = proxied
    proxy.rules = [Rule(slow_down(retry_after=0), times=1, per_key=True)]
    ran = operator.apply("--json").ok()
    assert proxy.count("put", status=503) == 6, "the first attempt of each"
    assert ran.lines("run_complete")[0]["failed"] == 0
    assert compare(operator.source_side, operator.destination_side) == []


def test_credentials_that_become_wrong_stop_the_run_and_the_next_completes(
    proxied: tuple[Operator, FaultProxy],
) -> None:
    operator, proxy = proxied
    proxy.rules = [Rule(error(403, "InvalidAccessKeyId"), operations=("put",), skip=2)]
    ran = operator.apply()
    assert ran.code == 77, ran.err
    assert operator.run("status", "--json").lines("status")[0]["failed"] == 0
    done = len(keys(operator.destination_side))
    assert done >= 2
    proxy.rules = []
    proxy.forget()
    assert operator.apply().code == 0
    assert compare(operator.source_side, operator.destination_side) == []
    assert proxy.count("put") <= 6 - 2 + 2  # what was recorded is not sent again


def test_cleanup_aborts_our_uploads_and_no_others(on_moto: Operator, seed: int) -> None:
    write(on_moto.source.client(), on_moto.source_bucket, CorpusObject("big", 11 * MIB, seed))
    foreign = on_moto.destination.client().create_multipart_upload(Bucket=on_moto.destination_bucket, Key="big")
    with FaultProxy(on_moto.destination.endpoint_url) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.declare(limits={"memory": "12MiB"})
        assert on_moto.plan().code == 0
        proxy.rules = [Rule(error(403, "InvalidAccessKeyId"), operations=("part",), skip=1)]
        assert on_moto.apply().code == 77
        proxy.rules = []
        assert len(on_moto.uploads()) == 2
        on_moto.run("cleanup", "1").ok()
        assert on_moto.uploads() == [foreign["UploadId"]]
        assert on_moto.apply().code == 0
        assert on_moto.uploads() == [foreign["UploadId"]]
    assert compare(on_moto.source_side, on_moto.destination_side) == []


def test_a_checkpointed_part_is_not_sent_again(on_moto: Operator, seed: int) -> None:
    write(on_moto.source.client(), on_moto.source_bucket, CorpusObject("big", 16 * MIB, seed))
    with FaultProxy(on_moto.destination.endpoint_url) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.declare(limits={"memory": "12MiB", "workers": 1})
        assert on_moto.plan().code == 0
        proxy.rules = [Rule(error(403, "InvalidAccessKeyId"), operations=("part",), skip=2)]
        assert on_moto.apply().code == 77
        assert "10.0 MiB in parts of objects under way" in on_moto.run("status").out
        proxy.rules = []
        proxy.forget()
        assert on_moto.apply().code == 0
        assert "in parts" not in on_moto.run("status").out
        assert proxy.count("part") == 2  # of four
        assert proxy.count("create") == 0
    side = Bucket(on_moto.destination.client(), on_moto.destination_bucket)
    assert compare(on_moto.source_side, side) == []
    assert on_moto.uploads() == []
