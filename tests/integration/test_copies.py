"""One object at a time through planner, runner and ledger, the store's answers in the test's hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from support.memory_run import BUDGET, FACTS, hurried, plan_of, run
from support.memory_store import Call, MemoryStore, crc_base64
from support.planning import MemoryManifests
from support.silent import Told

from executor.ledger.ledger import Ledger
from executor.ledger.values import Completion, Outcome, Progress, RunState
from schema import errors
from schema.declaration import Guards, Policy
from schema.errors import WhichSide
from schema.files.plan_document import with_plan_id
from schema.plan import Gate, Plan, Stage
from schema.tiers import MIB

ONE_STAGE = (Stage("bulk", (), Gate.COPIED),)
BIG = bytes(range(256)) * (11 * MIB // 256)
"""Three parts."""
HEADERS = [("content-type", "x/y"), ("x-amz-meta-a", "b")]
TAGS = (("k", "v w"),)


class Bench(NamedTuple):
    """One object at the source, planned."""

    source: MemoryStore
    destination: MemoryStore
    plan: Plan
    manifests: MemoryManifests
    ledger: Ledger
    told: Told

    def run(self, budget: int = BUDGET) -> Progress:
        return run(
            self.plan, self.manifests, self.source, self.destination, self.ledger, events=self.told, budget=budget,
            workers=2,
        )  # fmt: skip

    def completion(self) -> Completion:
        found = self.ledger.runs.find(self.plan.plan_id)
        assert found is not None
        rows = [
            row
            for number in range(len(self.plan.batches))
            for row in self.ledger.reports.completions(found.run_id, number)
        ]
        assert len(rows) == 1
        return rows[0]

    def left_over(self) -> int:
        """Uploads that server or ledger still know."""
        found = self.ledger.runs.find(self.plan.plan_id)
        assert found is not None
        return len(self.destination.open) + len(list(self.ledger.uploads.unfinished(found.run_id)))


Setting = Callable[..., Bench]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch)
    monkeypatch.setattr("executor.attempts.delay", lambda *_words, **_named: 0.0)


@pytest.fixture
def bench(ledger: Ledger, tmp_path: Path) -> Setting:
    """Makes a Bench for one object of these bytes."""

    def make(
        body: bytes, *, older: bytes | None = None, facts: dict[str, str] | None = None, policy: Policy | None = None
    ) -> Bench:
        source, destination = (
            MemoryStore("from", side=WhichSide.SOURCE),
            MemoryStore("to", side=WhichSide.DESTINATION, guards=facts is None),
        )
        source.hold("k", body, HEADERS, TAGS)
        if older is not None:
            destination.hold("k", older)
        policy = policy or Policy(on_destination_newer="overwrite")
        plan, manifests = plan_of(
            source, destination, tmp_path, facts=facts, policy=policy, guards=Guards(max_overwrites=9)
        )
        return Bench(source, destination, plan, manifests, ledger, Told())

    return make


def once(operation: str, fault: Callable[[], None], *, key: str = "k", nth: int = 1) -> Callable[[Call], None]:
    """A hook that calls *fault* at the nth call of *operation*."""
    seen = 0

    def hook(call: Call) -> None:
        nonlocal seen
        if (call.operation, call.key) == (operation, key):
            seen += 1
            if seen == nth:
                fault()

    return hook


def raising(error: Exception) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


def flipped(times: int, operation: str) -> Callable[[Call, bytes], bytes]:
    """Damages the first *times* bodies of *operation*, each in another place: what is read alike twice is stored so."""
    left = times

    def damage(call: Call, body: bytes) -> bytes:
        nonlocal left
        if call.operation != operation or left == 0 or not body:
            return body
        left -= 1
        return bytes([body[0] ^ (left + 1)]) + body[1:]

    return damage


def arrived(made: Bench, outcome: Outcome = Outcome.COPIED) -> None:
    """Everything is at the destination, recorded once, nothing left over."""
    assert made.source.state() == made.destination.state()
    assert made.completion().outcome is outcome
    assert made.completion().destination_etag == made.destination.objects["k"].etag
    assert made.left_over() == 0


BOTH = pytest.mark.parametrize("body", [b"hello", BIG], ids=["whole", "parted"])
WRITE = {5: "PutObject", len(BIG): "CompleteMultipartUpload"}


# --- our own writes, and others' ----------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("older", [None, b"old"], ids=["create", "overwrite"])
def test_a_lost_success_is_recognised_as_ours(bench: Setting, body: bytes, older: bytes | None) -> None:
    made = bench(body, older=older)
    made.destination.after = once(WRITE[len(body)], raising(errors.ConnectionFailed("reset")))
    assert made.run().state is RunState.COMPLETE
    arrived(made, Outcome.ALREADY_THERE)


@BOTH
@pytest.mark.parametrize("guards", [True, False], ids=["guarded", "unguarded"])
def test_other_content_is_a_conflict_and_untouched(bench: Setting, body: bytes, guards: bool) -> None:
    facts = None if guards else {**FACTS, "if_none_match": "ignored", "if_match": "ignored"}
    made = bench(body, facts=facts)
    stranger = made.destination.hold("k", bytes(len(body)), HEADERS, TAGS)
    made.run()
    assert made.completion().outcome is Outcome.CONFLICT
    assert made.destination.objects["k"] is stranger
    assert made.left_over() == 0
    assert [t.reason for t in made.told.troubles if t.final] == ["conflict"]


@BOTH
def test_same_bytes_with_other_metadata_are_a_conflict(bench: Setting, body: bytes) -> None:
    made = bench(body)
    stranger = made.destination.hold("k", body, [("content-type", "x/y"), ("x-amz-meta-a", "z")], TAGS)
    made.run()
    assert made.completion().outcome is Outcome.CONFLICT
    assert made.destination.objects["k"] is stranger
    assert "a" in next(t.message for t in made.told.troubles if t.final)
    assert made.left_over() == 0


@BOTH
def test_tags_that_follow_the_write_are_mended_after_a_kill_in_between(bench: Setting, body: bytes) -> None:
    made = bench(body, facts={**FACTS, "tagging_header": "ignored"})
    made.destination.guards = True
    made.destination.hold("k", body, HEADERS)
    assert made.run().state is RunState.COMPLETE
    arrived(made, Outcome.ALREADY_THERE)


@BOTH
def test_missing_tags_that_would_have_come_with_the_write_are_a_conflict(bench: Setting, body: bytes) -> None:
    made = bench(body)
    made.destination.hold("k", body, HEADERS)
    made.run()
    assert made.completion().outcome is Outcome.CONFLICT
    assert made.destination.objects["k"].tags == ()


@BOTH
def test_what_was_to_be_overwritten_changed(bench: Setting, body: bytes) -> None:
    made = bench(body, older=b"old")
    stranger = made.destination.hold("k", b"newer")
    made.run()
    assert made.completion().outcome is Outcome.CONFLICT
    assert made.destination.objects["k"] is stranger


# --- the source ---------------------------------------------------------------------------------------------


@BOTH
def test_a_source_changed_between_plan_and_get(bench: Setting, body: bytes) -> None:
    made = bench(body)
    made.source.hold("k", body[::-1])
    made.run()
    assert made.completion().outcome is Outcome.SOURCE_CHANGED
    assert made.destination.objects == {}
    assert made.left_over() == 0


@BOTH
def test_a_source_gone(bench: Setting, body: bytes) -> None:
    made = bench(body)
    del made.source.objects["k"]
    made.run()
    assert made.completion().outcome is Outcome.SOURCE_GONE
    assert made.destination.objects == {}


def test_a_source_changed_between_two_parts_is_never_mixed(bench: Setting) -> None:
    made = bench(BIG)

    def change() -> None:
        made.source.hold("k", BIG[::-1])

    made.source.before = once("GetObject", change, nth=2)
    made.run()
    assert made.completion().outcome is Outcome.SOURCE_CHANGED
    assert made.destination.objects == {}
    assert made.left_over() == 0


# --- bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("times", "ends"), [(2, RunState.COMPLETE), (9, RunState.FAILED)])
def test_a_flipped_get_is_never_put(bench: Setting, times: int, ends: RunState) -> None:
    made = bench(b"hello")
    made.source.damaged_get = flipped(times, "GetObject")
    assert made.run().state is ends
    if ends is RunState.COMPLETE:
        arrived(made)
    else:
        assert made.destination.objects == {}
        # The source's own MD5 travels with the bytes: whoever looks first, source or destination, refuses them.
        assert {t.reason for t in made.told.troubles} == {"DigestMismatch"}


def test_a_put_damaged_on_its_way_is_written_again_over_nothing_but_itself(bench: Setting) -> None:
    made = bench(b"hello", facts={**FACTS, "content_md5": "ignored"})
    made.destination.guards = True
    made.destination.damaged_put = flipped(1, "PutObject")
    assert made.run().state is RunState.COMPLETE
    arrived(made)
    assert made.destination.count("PutObject") == 2


def test_a_part_damaged_on_its_way_is_sent_again(bench: Setting) -> None:
    made = bench(BIG)
    made.destination.damaged_put = flipped(2, "UploadPart")
    assert made.run().state is RunState.COMPLETE
    arrived(made)
    assert made.destination.count("UploadPart") == 5


@pytest.mark.parametrize(("times", "ends"), [(1, RunState.COMPLETE), (99, RunState.FAILED)], ids=["once", "each time"])
def test_parts_that_combine_to_another_checksum_are_never_completed(
    ledger: Ledger, tmp_path: Path, times: int, ends: RunState
) -> None:
    source, destination = (
        MemoryStore("from", side=WhichSide.SOURCE, returns_checksums=True),
        MemoryStore("to", side=WhichSide.DESTINATION),
    )
    source.hold("k", BIG).checksum = crc_base64(BIG)
    facts = {"etag_is_md5": "enforced", "checksums_returned": "enforced", "crc64nvme": "enforced"}
    plan, manifests = plan_of(source, destination, tmp_path, source_facts=facts)
    made = Bench(source, destination, plan, manifests, ledger, Told())
    source.damaged_get = flipped(times, "GetObject")
    assert made.run().state is ends
    assert made.left_over() == 0
    if ends is RunState.COMPLETE:
        arrived(made)
        assert destination.count("CreateMultipartUpload") == 2
        assert destination.count("CompleteMultipartUpload") == 1
    else:
        assert destination.objects == {}
        assert destination.count("CompleteMultipartUpload") == 0
        assert "CRC64NVME" in next(t.message for t in made.told.troubles if t.final)


# --- uploads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [BUDGET, 8 * MIB], ids=["held", "windowed"])
def test_parts_of_any_size_against_the_budget(bench: Setting, budget: int) -> None:
    made = bench(BIG)
    assert made.run(budget).state is RunState.COMPLETE
    arrived(made)


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_an_upload_that_the_server_lost_is_begun_anew_once(bench: Setting, operation: str) -> None:
    made = bench(BIG)
    made.destination.before = once(operation, made.destination.open.clear)
    assert made.run().state is RunState.COMPLETE
    arrived(made)
    assert made.destination.count("CreateMultipartUpload") == 2


def test_an_upload_that_the_server_loses_each_time_fails_the_object(bench: Setting) -> None:
    made = bench(BIG)

    def lose(call: Call) -> None:
        if call.operation == "CompleteMultipartUpload":
            made.destination.open.clear()

    made.destination.before = lose
    assert made.run().state is RunState.FAILED
    assert made.destination.objects == {}
    assert made.left_over() == 0


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (errors.AccessRefused, errors.ClockSkewed),
        (errors.AccessRefused, errors.CredentialsRefused),
        (errors.ObjectRefused, errors.CredentialsExpired),
    ],
)
def test_a_refused_head_is_asked_about_by_a_listing(
    bench: Setting, seen: type[errors.StoreError], reason: type[errors.StoreError]
) -> None:
    """HEAD says 403 or 400 and no more; the object is not failed for what concerns every one of them."""
    made, bad = bench(BIG), [True]

    def refuse(call: Call) -> None:
        if not bad[0]:
            return
        if call.operation == "HeadObject":
            raise seen("no", operation=call.operation, status=403 if seen is errors.AccessRefused else 400)
        if call.operation == "ListObjectsV2" and made.source.count("HeadObject"):
            raise reason("why", operation=call.operation)

    made.source.before = refuse
    with pytest.raises(reason):
        made.run()
    found = made.ledger.runs.find(made.plan.plan_id)
    assert found is not None and made.ledger.reports.failures(found.run_id) == []
    bad[0] = False
    assert made.run().state is RunState.COMPLETE
    arrived(made)


@pytest.mark.parametrize("error", [errors.UploadConflicted("409"), errors.PartRefused("400 InvalidPart")])
def test_a_spoiled_upload_is_begun_anew(bench: Setting, error: errors.StoreError) -> None:
    made = bench(BIG)
    made.destination.before = once("CompleteMultipartUpload", raising(error))
    assert made.run().state is RunState.COMPLETE
    arrived(made)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_part_that_fails_for_good_leaves_no_upload(bench: Setting, nth: int) -> None:
    made = bench(BIG)
    made.destination.before = once("UploadPart", raising(errors.AccessRefused("403", operation="UploadPart")), nth=nth)
    assert made.run().state is RunState.FAILED
    assert made.destination.objects == {}
    assert made.left_over() == 0
    assert made.destination.count("CreateMultipartUpload") == 1


def test_the_parts_that_server_and_ledger_agree_on_are_kept(bench: Setting) -> None:
    made = bench(BIG)
    made.destination.before = once("UploadPart", raising(errors.CredentialsRefused("no")), nth=3)
    with pytest.raises(errors.CredentialsRefused):
        made.run()
    (upload,) = made.destination.open.values()
    kept = dict(upload.parts)
    assert kept
    made.destination.before = lambda _call: None
    made.destination.calls.clear()
    assert made.run().state is RunState.COMPLETE
    assert made.destination.count("UploadPart") == 3 - len(kept)
    assert made.destination.count("CreateMultipartUpload") == 0
    arrived(made)


def test_a_part_that_the_server_replaced_is_not_trusted(bench: Setting) -> None:
    made = bench(BIG)
    made.destination.before = once("UploadPart", raising(errors.CredentialsRefused("no")), nth=3)
    with pytest.raises(errors.CredentialsRefused):
        made.run()
    (upload,) = made.destination.open.values()
    for number, (body, _) in list(upload.parts.items()):
        upload.parts[number] = (body, "0" * 32)
    made.destination.before = lambda _call: None
    made.destination.calls.clear()
    assert made.run().state is RunState.COMPLETE
    assert made.destination.count("UploadPart") == 3
    arrived(made)


@pytest.mark.parametrize("size", [5, len(BIG)], ids=["whole", "parted"])
def test_refusals_of_every_object_stop_the_run_early(ledger: Ledger, tmp_path: Path, size: int) -> None:
    source, destination = MemoryStore("from", side=WhichSide.SOURCE), MemoryStore("to", side=WhichSide.DESTINATION)
    for number in range(60):
        source.hold(f"k{number:03d}", BIG[:size])
    plan, manifests = plan_of(source, destination, tmp_path)
    plan = with_plan_id(replace(plan, stages=ONE_STAGE, batches=tuple(replace(b, stage="bulk") for b in plan.batches)))

    def refuse(call: Call) -> None:
        if call.operation in ("PutObject", "CreateMultipartUpload"):
            raise errors.AccessRefused("403", operation=call.operation)

    destination.before = refuse
    made = Bench(source, destination, plan, manifests, ledger, Told())
    with pytest.raises(errors.AccessRefused):
        made.run()
    assert destination.count("PutObject", "CreateMultipartUpload") < 40
