"""Causes and sides, leaves and codes, addressing: rows C, E, G and two of B of the reference, each with a control.

A test is named after the id of its row. `quirks` of a QuirkProxy make a moto differ; without them is the control.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.corpus import CorpusObject, mixed
from support.json_process import PATIENCE
from support.operator import Operator, Ran, moved
from support.oracle import compare, fill, keys
from support.quirk_proxy import Answered, Asked, Quirk, QuirkProxy, Refuses, ShowsLate, Which, refusal

from executor.copy.job import Job
from executor.copy.written import Lateness, shown
from executor.ledger.values import Completion, Failure, Outcome
from executor.stop import Stop
from schema import errors
from schema.errors import StoreError, WhichSide
from schema.objects import ObjectHead
from schema.plan import Action, Entry
from schema.tiers import MIB

OBJECTS = 6


@contextlib.contextmanager
def destination(operator: Operator, *quirks: Quirk) -> Iterator[QuirkProxy]:
    """The operator's destination behind a proxy with these quirks; none: the control."""
    with QuirkProxy(operator.destination.endpoint_url, *quirks) as proxy:
        operator.destination_url = proxy.endpoint_url
        yield proxy


@contextlib.contextmanager
def source(operator: Operator, *quirks: Quirk) -> Iterator[QuirkProxy]:
    """The operator's source, so."""
    with QuirkProxy(operator.source.endpoint_url, *quirks) as proxy:
        operator.source_url = proxy.endpoint_url
        yield proxy


def failures(operator: Operator) -> list[dict[str, Any]]:
    """The failed objects as `status --json` tells of them."""
    return operator.run("status", "--json").lines("failure")


def even(seed: int, key: str = "big") -> CorpusObject:
    """An object that crosses in parts with 12 MiB of memory."""
    return CorpusObject(key, 11 * MIB, seed, part_size=5 * MIB)


PARTED = {"limits": {"memory": "12MiB"}, "preserve": {"part_layout": True}}


def job_of(entry: Entry) -> Job:
    """One object whose source has changed once more when it is looked at again, and is to be skipped then."""
    another = SimpleNamespace(
        head=lambda *_key, **_words: ObjectHead(size=2, etag="other", headers={}),
        list_objects=lambda *_key, **_words: iter(()),
        list_versions=lambda *_key, **_words: iter(()),
    )
    policy = SimpleNamespace(if_source_changes="skip")
    route: Any = SimpleNamespace(plan=SimpleNamespace(policy=policy), source=another, read_extra=())
    work: Any = SimpleNamespace(chunk=SimpleNamespace(batch_no=0))
    tools: Any = SimpleNamespace(retrier=SimpleNamespace(run=lambda step, *_counted: step()))
    return Job(route, entry, work, 0, tools)


# --- head-404-after-complete ---------------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [0, 2])
def test_head_404_after_complete(on_moto: Operator, seed: int, looks: int) -> None:
    """Shown after two looks: asked again. 0: the control."""
    fill(on_moto.source.client(), on_moto.source_bucket, [even(seed)])
    on_moto.more = PARTED
    late = ShowsLate(looks, writes=("complete",))
    with destination(on_moto) as proxy:
        assert on_moto.plan().code == 0
        proxy.quirks = (late,)
        applied = on_moto.apply()
        assert applied.code == 0, applied.err + on_moto.run("status").out
        assert proxy.count("head", status=404) == looks
    assert compare(on_moto.source_side, on_moto.destination_side) == []


def test_what_is_never_shown_names_the_destination_and_the_time() -> None:
    def look() -> None:
        raise errors.ObjectMissing("HeadObject s3://b/k was refused: HTTP 404", operation="HeadObject", key="k")

    with pytest.raises(errors.ObjectMissing, match=r"the destination took the write.* does not show it") as caught:
        shown(look, Stop(), Lateness((0.0, 0.0, 0.0)))
    assert caught.value.side is WhichSide.DESTINATION
    entry = Entry("k", 1, "e", Action.COPY)
    result = job_of(entry).failed(caught.value).row
    assert isinstance(result, Failure), "failed, and not gone from the source"


def test_control_what_is_shown_is_asked_for_once() -> None:
    looks: list[int] = []
    shown(lambda: looks.append(1), Stop(), Lateness((0.0,)))
    assert looks == [1]


def test_a_stop_ends_the_waiting() -> None:
    stop = Stop()
    stop.request()
    stop.propagate()

    def look() -> None:
        raise errors.ObjectMissing("404")

    with pytest.raises(errors.Stopped):
        shown(look, stop, Lateness((100.0,)))


@pytest.mark.parametrize("leaf", [errors.ObjectMissing, errors.ObjectChanged])
@pytest.mark.parametrize("operation", ["HeadObject", "GetObject", "PutObject", "Anything"])
@pytest.mark.parametrize("side", list(WhichSide))
def test_the_side_decides_and_not_the_operation(leaf: type[StoreError], operation: str, side: WhichSide) -> None:
    entry = Entry("k", 1, "e", Action.COPY)
    result = job_of(entry).failed(leaf("no", operation=operation, side=side)).row
    if side is WhichSide.SOURCE:
        assert isinstance(result, Completion)
        assert result.outcome in {Outcome.SOURCE_GONE, Outcome.SOURCE_CHANGED}
    else:
        assert isinstance(result, Failure)


def test_a_source_bucket_that_is_gone_is_not_so_many_objects_gone(on_moto: Operator, seed: int) -> None:
    """HEAD 404 says nothing; GET says NoSuchBucket: the run stops, and no object is noted as drifted."""
    fill(on_moto.source.client(), on_moto.source_bucket, [even(seed)])
    on_moto.more = PARTED
    with source(on_moto) as proxy:
        assert on_moto.plan().code == 0
        proxy.quirks = (Refuses(404, "NoSuchBucket", Which(("get", "head"))),)
        applied = on_moto.apply()
        assert (applied.code, "NoSuchBucket" in applied.err) == (68, True), applied.err
        proxy.quirks = ()
        assert on_moto.apply().code == 0
    assert compare(on_moto.source_side, on_moto.destination_side) == []


# --- part-number-405, layout-r2 ------------------------------------------------------------------------------


class NoPartNumbers(Quirk):
    """405 for HEAD and GET ?partNumber=."""

    def asked(self, call: Asked) -> Answered | None:
        reads = call.request.method in ("GET", "HEAD") and "partNumber" in call.request.query
        return refusal(405, "MethodNotAllowed") if reads else None


@pytest.mark.parametrize("faulty", [False, True])
def test_part_number_405(on_moto: Operator, seed: int, faulty: bool) -> None:
    """The object fails with what to accept; it is not gone. Not faulty: the control."""
    fill(on_moto.source.client(), on_moto.source_bucket, [even(seed)])
    on_moto.more = PARTED
    with source(on_moto) as proxy:
        assert on_moto.plan().code == 0
        proxy.quirks = (NoPartNumbers(),) if faulty else ()
        applied = on_moto.apply()
        if not faulty:
            assert applied.code == 0, applied.err
            return
        said = applied.err + on_moto.run("status").out
        assert applied.code == 3, said
        assert "accept_loss: [part-layout]" in said and "gone from the source" not in said
        assert keys(on_moto.destination_side) == []


class EvenPartsOnly(Quirk):
    """Complete refuses parts of different sizes, as R2 does. Counts the bytes it was sent."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    def asked(self, call: Asked) -> Answered | None:
        if call.request.operation == "part":
            self.sizes[int(call.request.query["partNumber"])] = len(call.body)
        if call.request.operation == "complete" and len({self.sizes[n] for n in list(self.sizes)[:-1]}) > 1:
            return refusal(400, "InvalidPart", "All non-trailing parts must have the same length.")
        return None


@pytest.mark.parametrize("sizes", [(5 * MIB, 5 * MIB, 9), (5 * MIB, 6 * MIB, 9)], ids=["control", "uneven"])
def test_layout_r2(on_moto: Operator, sizes: tuple[int, ...]) -> None:
    client, name = on_moto.source.client(), on_moto.source_bucket
    upload = client.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    named: dict[str, Any] = {"Bucket": name, "Key": "k", "UploadId": upload}
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(PartNumber=n, Body=bytes([n]) * size, **named)["ETag"]}
        for n, size in enumerate(sizes, 1)
    ]
    client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)
    on_moto.more = PARTED | {"limits": {"memory": "12MiB", "workers": 1}}
    with destination(on_moto) as proxy:
        assert on_moto.plan().code == 0
        proxy.quirks = (EvenPartsOnly(),)
        proxy.forget()
        applied = on_moto.apply()
        if len(set(sizes[:-1])) == 1:
            assert applied.code == 0, applied.err
            return
        said = applied.err + on_moto.run("status").out
        assert applied.code == 3
        assert "All non-trailing parts must have the same length" in said
        assert (proxy.count("create"), proxy.count("part")) == (1, 3), "the bytes are sent once"
        assert on_moto.uploads() == []


# --- botocore-clienterror ------------------------------------------------------------------------------------

ROLE = {"role_arn": "arn:aws:iam::123456789012:role/mover", "source": {"env": "OLD"}}


def plan_with(operator: Operator, credentials: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **named: str) -> Ran:
    """`plan` with the source's credentials so, and this in the environment."""
    operator.declare(source={"credentials": credentials})
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    return operator.run("plan", "migration.yaml")


def sts_answers(answer: Answered) -> Quirk:
    class Sts(Quirk):
        def asked(self, call: Asked) -> Answered | None:  # noqa: ARG002
            return answer

    return Sts()


def sts_refusal(status: int, code: str) -> Answered:
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>the reason of STS</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
    return Answered(status, [("Content-Type", "text/xml")], body.encode())


@pytest.mark.parametrize(
    ("status", "code", "leaf"),
    [
        (0, "", 0),
        (403, "AccessDenied", 77),
        (403, "ExpiredToken", 77),
        (400, "RegionDisabledException", 77),
    ],
)
def test_botocore_clienterror(
    on_moto: Operator, seed: int, monkeypatch: pytest.MonkeyPatch, status: int, code: str, leaf: int
) -> None:
    """STS refuses: its code and reason, and no traceback. 0: it does not (moto's own STS), the control."""
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 3, largest=100))
    quirks = (sts_answers(sts_refusal(status, code)),) if status else ()
    with QuirkProxy(on_moto.source.endpoint_url, *quirks) as sts:
        ran = plan_with(on_moto, ROLE, monkeypatch, AWS_ENDPOINT_URL_STS=sts.endpoint_url, AWS_MAX_ATTEMPTS="1")
    assert ran.code == leaf, ran.err
    assert "Traceback" not in ran.err
    if status:
        assert code in ran.err and "the reason of STS" in ran.err and "role/mover" in ran.err


ROLE_OF = "role_arn = arn:aws:iam::1:role/x\n"
KEYED = "aws_access_key_id = accesskey1\naws_secret_access_key = canary-secret\n"
MFA = f"[profile p]\n{ROLE_OF}source_profile = s\nmfa_serial = arn:aws:iam::1:mfa/u\n[profile s]\n{KEYED}"
LOOP = f"[profile p]\n{ROLE_OF}source_profile = q\n[profile q]\n{ROLE_OF}source_profile = p\n"
SESSION = "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://x.invalid/start\n"
SSO = f"[profile p]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n{SESSION}"
PROFILES: list[tuple[str, str, int, str]] = [
    ("control", f"[profile p]\n{KEYED}", 0, ""),
    ("malformed", "[profile p\nnonsense", 78, "fix the AWS configuration"),
    ("missing", "[profile other]\nregion = x\n", 77, "could not be found"),
    ("loop", LOOP, 78, "fix the AWS configuration"),
    ("partial", "[profile p]\naws_access_key_id = a\n", 77, "missing"),
    ("process fails", "[profile p]\ncredential_process = /bin/false\n", 77, "custom-process"),
    ("process absent", "[profile p]\ncredential_process = /nowhere/at/all\n", 78, "/nowhere/at/all"),
    ("process prints nonsense", "[profile p]\ncredential_process = /bin/echo canary-secret\n", 77, "understood"),
    ("sso", SSO, 77, "aws sso login"),
    ("web identity", f"[profile p]\n{ROLE_OF}web_identity_token_file = /nowhere/token\n", 78, "/nowhere/token"),
]


@pytest.mark.parametrize(("name", "config", "code", "word"), PROFILES, ids=[row[0] for row in PROFILES])
def test_every_store_of_credentials_ends_with_a_code_and_a_sentence(
    on_moto: Operator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    config: str,
    code: int,
    word: str,
) -> None:
    file = tmp_path / "config"
    file.write_text(config)
    ran = plan_with(on_moto, {"profile": "p"}, monkeypatch, AWS_CONFIG_FILE=str(file), HOME=str(tmp_path))
    assert ran.code == code, (name, ran.err)
    assert word in ran.err
    assert "Traceback" not in ran.err and "canary" not in ran.err


def test_mfa_with_stdin_closed_is_no_interruption(on_moto: Operator, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(MFA)
    on_moto.declare(source={"credentials": {"profile": "p"}})
    with on_moto.background("plan", "migration.yaml", more={"AWS_CONFIG_FILE": str(file)}) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 77, err
    assert "MFA code, and there is no terminal" in err and "Traceback" not in err


# --- cap-as-403 ----------------------------------------------------------------------------------------------

FULL: list[tuple[int, str, str, int]] = [
    (403, "AccessDenied", "Cannot upload files, storage cap exceeded. See the Caps page.", 69),
    (403, "AccessDenied", "Bucket quota has been exceeded", 69),
    (400, "QuotaExceededException", "no", 69),
    (507, "", "", 69),
    (413, "", "insufficient storage", 69),
    (503, "ServiceUnavailable", "disk is full", 69),
    (500, "InternalError", "write failed: no space left on device", 69),
    (403, "AccessDenied", "Access Denied.", 77),
]


@pytest.mark.parametrize(("status", "code", "words", "exits"), FULL, ids=[f"{f[0]} {f[2]}" for f in FULL])
def test_cap_as_403(on_moto: Operator, seed: int, status: int, code: str, words: str, exits: int) -> None:
    """After some successes. The last row is the control: a denial that speaks of nothing is one of permissions."""
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, OBJECTS, largest=1000, tags=False))
    with destination(on_moto) as proxy:
        on_moto.declare(limits={"workers": 1})
        assert on_moto.plan().code == 0
        proxy.quirks = (Refuses(status, code, Which(("put",)), message=words, after=2),)
        applied = on_moto.apply()
        said = applied.err + on_moto.run("status").out
        assert applied.code == (exits if exits == 69 else 3), said
        assert ("free or add space" in applied.err) is (exits == 69)
        assert len(keys(on_moto.destination_side)) == 2
        proxy.quirks = ()
        assert on_moto.run("retry").code == 0
        assert on_moto.apply().code == 0
    assert compare(on_moto.source_side, on_moto.destination_side) == []


# --- unsigned-payload-refused --------------------------------------------------------------------------------


class SignedPayloads(Quirk):
    """Refuses UNSIGNED-PAYLOAD. *says*: status, code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self._answer = refusal(status, code, message)
        self.unsigned = 0

    def asked(self, call: Asked) -> Answered | None:
        if call.header("x-amz-content-sha256") != "UNSIGNED-PAYLOAD":
            return None
        self.unsigned += 1
        return self._answer


SAYS = [
    (400, "InvalidRequest", "UNSIGNED-PAYLOAD is not supported"),
    (400, "XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 header does not match what was computed."),
    (403, "SignatureDoesNotMatch", "The request signature we calculated does not match."),
    (403, "AccessDenied", "Access Denied"),
    (501, "NotImplemented", "no"),
]


@pytest.mark.parametrize("says", SAYS, ids=[f"{s[0]} {s[1]}" for s in SAYS])
def test_unsigned_payload_refused(on_moto: Operator, seed: int, says: tuple[int, str, str]) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, OBJECTS, largest=1000))
    quirk = SignedPayloads(*says)
    with destination(on_moto, quirk):
        moved(on_moto)
    assert compare(on_moto.source_side, on_moto.destination_side) == []
    assert 1 <= quirk.unsigned <= 8, "remembered for the endpoint: once for each time it is opened"


@pytest.mark.parametrize("signed", [False, True])
def test_signed_payload_can_be_declared(on_moto: Operator, seed: int, signed: bool) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, OBJECTS, largest=1000))
    quirk = SignedPayloads(400, "InvalidRequest", "UNSIGNED-PAYLOAD is not supported")
    with destination(on_moto, quirk):
        on_moto.declare(destination={"signed_payload": signed})
        moved(on_moto)
        stated = yaml.safe_load(on_moto.plan_path.read_text())["sections"][0]["destination"]
    assert stated["signed_payload"] is signed
    assert (quirk.unsigned == 0) is signed


def test_control_bodies_are_not_hashed_where_that_is_taken(on_moto: Operator, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 2, largest=1000))
    seen: list[str | None] = []

    class Watching(Quirk):
        def asked(self, call: Asked) -> Answered | None:
            if call.request.operation == "put":
                seen.append(call.header("x-amz-content-sha256"))
            return None

    with destination(on_moto, Watching()):
        moved(on_moto)
    assert set(seen) == {"UNSIGNED-PAYLOAD"}
