"""What is refused, with which exit code, and that nothing was touched then."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Rule, Truncate, error, lying_empty, lying_html
from support.operator import Operator, edited, plan_id_of
from support.oracle import compare, fill, keys


@pytest.fixture
def planned(on_moto: Operator, seed: int) -> Operator:
    """A plan of a few objects, not applied."""
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 6, largest=1000))
    on_moto.plan().ok()
    return on_moto


def refused(operator: Operator, code: int, *options: str) -> str:
    """Apply is refused with *code* and writes nothing; its message."""
    ran = operator.apply(*options)
    assert ran.code == code, (ran.code, ran.err)
    assert keys(operator.destination_side) == []
    return ran.err


def manifests_of(operator: Operator) -> list[Path]:
    """All of them: each batch's manifest is checked before the batch's first object, and not before."""
    found = [path for path in (operator.folder / "plans" / "manifests").rglob("*") if path.is_file()]
    for path in found:
        path.chmod(0o644)
    return found


# --- words, files, declarations -----------------------------------------------------------------------------


def test_usage_is_64(on_moto: Operator) -> None:
    for words in (("nonsense",), ("plan",), ("apply", "--nonsense"), ("plan", "migration.yaml", "--json=3")):
        assert on_moto.run(*words).code == 64


def test_a_missing_file_is_66(on_moto: Operator) -> None:
    assert on_moto.run("plan", "absent.yaml").code == 66
    for command in ("apply", "check", "show", "verify", "cleanup"):
        ran = on_moto.run(command, "absent.plan.yaml")
        assert (ran.code, "absent.plan.yaml" in ran.err) == (66, True), command


def test_an_unknown_key_is_65_and_names_its_line(on_moto: Operator) -> None:
    on_moto.declare()
    edited(on_moto.declaration_path, lambda text: text.replace("source:\n", "source:\n  buckett: x\n"))
    ran = on_moto.run("plan", "migration.yaml")
    assert ran.code == 65
    line = on_moto.declaration_path.read_text().splitlines().index("  buckett: x") + 1
    assert "buckett" in ran.err
    assert f"{line}" in ran.err


def test_init_writes_a_declaration_once(on_moto: Operator) -> None:
    assert on_moto.run("init").code == 0
    written = on_moto.declaration_path.read_bytes()
    assert on_moto.run("init").code == 64
    assert on_moto.declaration_path.read_bytes() == written


# --- endpoints ----------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_77(on_rclone: Operator) -> None:
    on_rclone.secret = "wrong-secret"
    ran = on_rclone.plan()
    assert ran.code == 77, ran.err
    assert "wrong-secret" not in ran.out + ran.err
    assert not on_rclone.plan_path.exists()


def test_a_secret_that_became_wrong_stops_apply_with_77(on_rclone: Operator) -> None:
    fill(on_rclone.source.client(), on_rclone.source_bucket, [CorpusObject("one", 10, 1)])
    assert on_rclone.plan().code == 0
    on_rclone.secret = "wrong-secret"
    refused(on_rclone, 77)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_missing_bucket_is_68(on_moto: Operator, side: str) -> None:
    on_moto.declare(**{side: {"bucket": "there-is-no-such-bucket"}})
    ran = on_moto.plan()
    assert ran.code == 68, ran.err
    assert "there-is-no-such-bucket" in ran.err
    assert not on_moto.plan_path.exists()


@pytest.mark.usefixtures("brief_waits")
def test_an_endpoint_that_does_not_answer_is_69(on_moto: Operator) -> None:
    on_moto.declare(source={"endpoint_url": "http://127.0.0.1:9"})
    ran = on_moto.plan()
    assert ran.code == 69, ran.err


@pytest.mark.usefixtures("brief_waits")
@pytest.mark.parametrize(
    ("side", "lie"),
    [("source", lying_html()), ("source", Truncate(0.6)), ("destination", lying_empty())],
    ids=["html", "truncated", "empty"],
)
def test_a_lying_listing_is_76_and_leaves_no_plan(on_moto: Operator, seed: int, side: str, lie: object) -> None:
    bucket = on_moto.source_bucket if side == "source" else on_moto.destination_bucket
    fill(on_moto.source.client(), bucket, mixed(seed, 5, largest=100))
    with FaultProxy(on_moto.source.endpoint_url) as proxy:
        setattr(on_moto, f"{side}_url", proxy.endpoint_url)
        proxy.rules = [Rule(lie, operations=("list",))]  # type: ignore[arg-type]
        ran = on_moto.plan()
    assert ran.code == 76, ran.err
    assert not on_moto.plan_path.exists()


@pytest.mark.usefixtures("brief_waits")
@pytest.mark.parametrize("lie", [lying_html(), Truncate(0.6), lying_empty()], ids=["html", "truncated", "empty"])
def test_a_lying_listing_stops_apply_and_verify_with_76(on_moto: Operator, seed: int, lie: object) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 5, largest=100))
    with FaultProxy(on_moto.source.endpoint_url) as proxy:
        on_moto.source_url = proxy.endpoint_url
        assert on_moto.plan().code == 0
        proxy.rules = [Rule(lie, operations=("list",))]  # type: ignore[arg-type]
        message = refused(on_moto, 76)
        assert message.count("s3migrate:") == 1 and on_moto.source_bucket in message, message
        ran = on_moto.verify("--level", "listing")
        assert ran.code == 76, ran.err
        assert "not-copied" not in ran.err, "nothing is said of a bucket that was not seen"


# --- documents ----------------------------------------------------------------------------------------------


def test_a_plan_and_its_declaration_taken_for_each_other_are_told_so(planned: Operator) -> None:
    ran = planned.run("plan", planned.plan_path)
    assert (ran.code, ran.err.count("\n")) == (65, 1) and "is a plan, not a declaration" in ran.err, ran.err
    ran = planned.run("apply", planned.declaration_path)
    assert (ran.code, ran.err.count("\n")) == (5, 1) and "is a declaration, not a plan" in ran.err, ran.err


def test_an_edited_plan_is_5(planned: Operator) -> None:
    edited(planned.plan_path, lambda text: text.replace(planned.destination_bucket, "another-bucket"))
    refused(planned, 5)
    assert planned.run("check", planned.plan_path).code == 5
    assert planned.run("show", planned.plan_path).code == 5


def test_an_edited_manifest_is_5(planned: Operator) -> None:
    for path in manifests_of(planned):
        lines = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(lines.replace(b'"', b"'", 1)))
    refused(planned, 5)
    assert planned.run("check", planned.plan_path).code == 5


def test_a_manifest_cut_short_is_5(planned: Operator) -> None:
    for path in manifests_of(planned):
        path.write_bytes(path.read_bytes()[:-9])
    refused(planned, 5)


def test_a_missing_manifest_is_5(planned: Operator) -> None:
    for path in manifests_of(planned):
        path.unlink()
    refused(planned, 5)
    assert planned.run("check", planned.plan_path).code == 5


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"x"), Path.unlink], ids=["edited", "missing"])
def test_verify_and_show_refuse_a_harmed_manifest_with_5(planned: Operator, harm: Callable[[Path], object]) -> None:
    batch = re.findall(r"id: ((?:canary|tiny|small)-[0-9a-f]+)", planned.plan_path.read_text())[0]
    assert planned.run("show", planned.plan_path, "--batch", batch).code == 0
    for path in manifests_of(planned):
        harm(path)
    for words in (("verify", planned.plan_path), ("show", planned.plan_path, "--batch", batch)):
        ran = planned.run(*words)
        assert (ran.code, ran.err.count("s3migrate:")) == (5, 1), ran.err


def test_another_plan_than_approved_is_7(planned: Operator) -> None:
    refused(planned, 7, "--expect-plan-id", "0" * 64)
    assert planned.apply("--expect-plan-id", plan_id_of(planned.plan_path)).code == 0


# --- guards, age, locks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("guards", [{"max_objects": 5}, {"max_bytes": 3}])
def test_a_guard_exceeded_is_7(on_moto: Operator, seed: int, guards: dict[str, int]) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 6, largest=1000))
    on_moto.declare(guards=guards)
    on_moto.plan().ok()
    assert next(iter(guards)) in refused(on_moto, 7)


def test_overwrites_are_guarded_by_default(on_moto: Operator) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject("same", 10, 1)])
    fill(on_moto.source.client(), on_moto.destination_bucket, [CorpusObject("same", 20, 2)])
    on_moto.declare(policy={"on_destination_newer": "overwrite"}, guards={"max_overwrites": 0})
    assert on_moto.plan().code == 0
    before = on_moto.destination.client().head_object(Bucket=on_moto.destination_bucket, Key="same")["ETag"]
    assert on_moto.apply().code == 7
    assert on_moto.destination.client().head_object(Bucket=on_moto.destination_bucket, Key="same")["ETag"] == before


def test_an_older_plan_is_4_after_a_newer_was_accepted(planned: Operator) -> None:
    older = planned.plan_path.read_bytes()
    fill(planned.source.client(), planned.source_bucket, [CorpusObject("later", 10, 9)])
    assert planned.plan().code == 0
    newer = planned.plan_path.read_bytes()
    assert newer != older
    assert planned.apply().code == 0
    planned.plan_path.write_bytes(older)
    ran = planned.apply()
    assert ran.code == 4, ran.err
    planned.plan_path.write_bytes(newer)
    assert planned.apply().code == 0
    assert compare(planned.source_side, planned.destination_side) == []


def test_a_second_plan_on_the_same_destination_is_6_while_the_first_is_open(on_moto: Operator, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 3, largest=100))
    other = on_moto.source.create_bucket(f"{on_moto.source_bucket}-two")
    fill(on_moto.source.client(), other, [CorpusObject("other", 10, 1)])
    second = on_moto.folder / "plans" / "other.plan.yaml"
    with FaultProxy(on_moto.destination.endpoint_url) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        assert on_moto.plan().code == 0
        on_moto.declare(name="other", source={"bucket": other})
        assert on_moto.plan().code == 0
        proxy.rules = [Rule(error(403, "InvalidAccessKeyId"), operations=("put",))]
        assert on_moto.apply().code == 77  # the run is open now, and resumable
        proxy.rules = []
        ran = on_moto.run("apply", second)
        assert ran.code == 6, ran.err
        assert keys(on_moto.destination_side) == []
        assert on_moto.apply().code == 0
        assert on_moto.run("apply", second).code == 0
