"""One object in one PUT through a window: what it promises, when it gives way to parts, and what is learned of it."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support.memory_run import FACTS, SOURCE_FACTS
from support.memory_store import Call, MemoryStore
from support.sample_plan import sample_plan
from support.silent import Told

from executor.attempts import Retrier
from executor.copy.job import CopyTools, Ended, Job, OpenChunk, Stored
from executor.copy.single import copy_large, learn
from executor.ledger.values import Chunk, ChunkKind, Completion, Failure, Lane, Outcome, PartRecord, UploadRecord
from executor.machine.buffers import BufferPool, ByteBudget
from executor.route import MOST_FAILURES, Route, SinglePuts
from executor.stop import Stop
from schema import errors
from schema.declaration import Policy, Preserve
from schema.errors import WhichSide
from schema.facts import Capabilities
from schema.objects import WriteResult
from schema.plan import Action, Entry
from schema.tiers import MIB, SINGLE_PUT_MAX
from storage.port import Reader

BODY = bytes(range(256)) * (5 * MIB // 2 // 256)
BUDGET = MIB
"""Three windows, or one part: the smallest that S3 takes."""
HEADERS = [("content-type", "x/y"), ("x-amz-meta-a", "b")]
TAGS = (("k", "v w"),)


class NoUploads:
    """The uploads of a ledger that keeps none but what it was given."""

    def __init__(self) -> None:
        self.kept: tuple[UploadRecord, list[PartRecord]] | None = None

    def find(self, *_: object) -> tuple[UploadRecord, list[PartRecord]] | None:
        return self.kept

    def record(self, *_: object) -> None: ...

    record_parts = forget = record


class Bench:
    """One object between two stores."""

    def __init__(
        self,
        *,
        facts: dict[str, str] | None = None,
        source_facts: dict[str, str] | None = None,
        budget: int = BUDGET,
        body: bytes = BODY,
    ) -> None:
        self.source = MemoryStore("from", side=WhichSide.SOURCE)
        self.destination = MemoryStore("to", side=WhichSide.DESTINATION)
        self.source.hold("k", body, HEADERS, TAGS)
        self.told, self.stop, self.uploads = Told(), Stop(), NoUploads()
        self.buffers = BufferPool(ByteBudget(budget))
        self.blameless = False
        self.clock: Callable[[], float] = time.monotonic
        plan = sample_plan(preserve=Preserve(), policy=Policy(), memory_budget=budget)
        section = dataclasses.replace(
            plan.sections[0],
            source_capabilities=Capabilities(SOURCE_FACTS if source_facts is None else source_facts),
            destination_capabilities=Capabilities(FACTS if facts is None else facts),
        )
        self.route = Route(plan, section, self.source, self.destination, budget)

    def job(self, action: Action = Action.COPY, **more: Any) -> Job:
        retrier = Retrier(
            self.stop, lambda: 0.0, lambda _stop: None, blameless=lambda: self.blameless, clock=self.clock
        )
        ledger: Any = SimpleNamespace(uploads=self.uploads)
        tools = CopyTools(self.buffers, retrier, self.stop, ledger, self.told)
        batch = self.route.plan.batches[0]
        chunk = Chunk(1, 1, 1, ChunkKind.OBJECTS, Lane.PARTS, 0, 1, 1, uuid.UUID(int=0))
        entry = Entry("k", len(self.source.objects["k"].body), self.source.objects["k"].etag, action, **more)
        return Job(self.route, entry, OpenChunk(chunk, batch, 1), 0, tools)

    def copied(self, job: Job | None = None) -> Completion:
        """The object's completion, after a look that nothing is left of buffers and uploads."""
        ended = copy_large(job or self.job())
        assert ended is not None
        assert isinstance(ended.row, Completion)
        self.nothing_held()
        return ended.row

    def failed(self) -> Failure:
        ended = copy_large(self.job())
        assert ended is not None
        assert isinstance(ended.row, Failure)
        self.nothing_held()
        return ended.row

    def nothing_held(self) -> None:
        assert self.buffers.budget.in_use == 0
        assert self.destination.open == {}

    def puts(self) -> tuple[int, int]:
        """PUTs of the object, and uploads in parts."""
        return self.destination.count("PutObject"), self.destination.count("CreateMultipartUpload")

    def arrived(self) -> bool:
        return self.source.state() == self.destination.state()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.attempts.delay", lambda *_words, **_named: 0.0)
    monkeypatch.setattr("schema.plan.WHOLE_MAX", MIB)  # what it does is a matter of sizes to each other


def at(operation: str, act: Callable[[], None], *calls: int) -> Callable[[Call], None]:
    """A hook that acts at those *calls* of *operation*; none: at each."""
    seen = 0

    def hook(call: Call) -> None:
        nonlocal seen
        if call.operation == operation:
            seen += 1
            if not calls or seen in calls:
                act()

    return hook


def raising(error: Exception) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


def no_md5(*_: object, **__: object) -> None:
    raise AssertionError("MD5 was computed")


# --- the way itself -----------------------------------------------------------------------------------------


def test_one_put_carries_everything_and_has_the_sources_etag() -> None:
    made = Bench()
    row = made.copied()
    assert made.puts() == (1, 0)
    assert made.arrived()
    assert row.outcome is Outcome.COPIED
    assert row.destination_etag == made.source.objects["k"].etag
    assert row.checksum
    assert made.source.count("GetObject") == 3
    assert made.told.troubles == []


def test_nothing_is_hashed_with_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Bench()
    monkeypatch.setattr("executor.carry.window.hashlib", SimpleNamespace(md5=no_md5))
    monkeypatch.setattr("executor.carry.integrity.md5", no_md5)
    assert made.copied().outcome is Outcome.COPIED


@pytest.mark.parametrize(
    ("facts", "source_facts"),
    [
        ({**FACTS, "multipart_crc64nvme": "enforced"}, SOURCE_FACTS),
        ({**FACTS, "content_md5": "ignored"}, SOURCE_FACTS),
        (FACTS, {"etag_is_md5": "ignored"}),
    ],
    ids=["a CRC of parts", "no Content-MD5", "a source without MD5s"],
)
def test_where_the_md5_proves_nothing_or_parts_cost_nothing_it_goes_in_parts(
    facts: dict[str, str], source_facts: dict[str, str]
) -> None:
    made = Bench(facts=facts, source_facts=source_facts)
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (0, 1)
    assert made.arrived()


def test_an_encrypted_object_goes_in_parts_as_soon_as_its_head_shows_it() -> None:
    made = Bench()
    made.source.objects["k"].headers["x-amz-server-side-encryption"] = "aws:kms"
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (0, 1)
    assert made.route.single_puts.most == SINGLE_PUT_MAX


def test_an_upload_that_the_ledger_knows_goes_on_in_parts() -> None:
    made = Bench()
    upload = made.destination.create_upload("k", HEADERS)
    record = UploadRecord(1, 0, "to", "k", upload, made.source.objects["k"].etag, None, len(BODY), len(BODY), 1)
    made.uploads.kept = (record, [])
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (0, 1)  # the upload that was there
    assert made.destination.count("UploadPart") == 1


def test_tags_that_do_not_fit_follow_the_put() -> None:
    made = Bench(facts={**FACTS, "tagging_header": "ignored"})
    made.copied()
    assert made.arrived()
    assert made.destination.count("PutObjectTagging") == 1


def test_a_stop_ends_it_between_two_windows_and_nothing_is_there() -> None:
    made = Bench()
    made.source.before = at("GetObject", made.stop.request, 2)
    assert copy_large(made.job()) is None
    made.nothing_held()
    assert made.destination.objects == {}


# --- what is there already ----------------------------------------------------------------------------------


def test_a_lost_success_is_recognised_as_ours() -> None:
    made = Bench()
    made.destination.after = at("PutObject", raising(errors.ConnectionFailed("reset")), 1)
    assert made.copied().outcome is Outcome.ALREADY_THERE
    assert made.arrived()


@pytest.mark.parametrize("guards", [True, False], ids=["guarded", "unguarded"])
def test_what_somebody_else_wrote_is_a_conflict_and_untouched(guards: bool) -> None:
    made = Bench(facts=None if guards else {**FACTS, "if_none_match": "ignored", "if_match": "ignored"})
    made.destination.guards = guards
    stranger = made.destination.hold("k", bytes(len(BODY)), HEADERS, TAGS)
    assert made.copied().outcome is Outcome.CONFLICT
    assert made.destination.objects["k"] is stranger


@pytest.mark.parametrize("changed", [True, False])
def test_what_is_overwritten_must_be_what_was_planned(changed: bool) -> None:
    made = Bench()
    planned = made.destination.hold("k", b"old").etag
    there = made.destination.hold("k", b"newer") if changed else None
    row = made.copied(made.job(Action.OVERWRITE, destination_etag=planned))
    assert row.outcome is (Outcome.CONFLICT if changed else Outcome.COPIED)
    assert made.arrived() is not changed
    assert there is None or made.destination.objects["k"] is there


def test_a_source_that_changes_between_two_windows_is_never_mixed() -> None:
    made = Bench()

    def change() -> None:
        made.source.hold("k", BODY[::-1])

    made.source.before = at("GetObject", change, 2)
    assert made.copied().outcome is Outcome.SOURCE_CHANGED
    assert made.destination.objects == {}


# --- bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["read", "write"])
def test_what_is_damaged_on_its_way_once_is_sent_again(side: str) -> None:
    made = Bench()
    left = [1]

    def damage(_call: Call, body: bytes) -> bytes:
        return b"!" + body[1:] if left and left.pop() else body

    if side == "read":
        made.source.damaged_get = damage
    else:
        made.destination.damaged_put = damage
    row = made.copied()
    assert (row.outcome, row.attempts) == (Outcome.COPIED, 2)
    assert made.puts() == (2, 0)
    assert made.arrived()
    assert [t.reason for t in made.told.troubles] == ["DigestMismatch"]


def test_reads_that_are_damaged_each_time_otherwise_are_never_written() -> None:
    made = Bench()
    reads = iter(range(1, 256))
    made.source.damaged_get = lambda _call, body: bytes([body[0] ^ next(reads)]) + body[1:]
    row = made.failed()
    assert row.error_code == "DigestMismatch"
    assert "the bytes read have MD5" in row.message
    assert "nothing was written" in row.message
    assert made.destination.objects == {}


def test_an_etag_that_is_no_md5_of_what_is_read_twice_leads_to_parts() -> None:
    made = Bench()
    made.source.objects["k"].etag = hashlib.md5(b"something else").hexdigest()
    row = made.copied()
    assert row.outcome is Outcome.COPIED
    assert made.puts() == (1, 1)  # the second time the end of the reading showed it
    assert made.destination.objects["k"].body == BODY
    assert [t.reason for t in made.told.troubles] == ["DigestMismatch", "SinglePutRefused"]


def test_a_put_that_was_published_damaged_is_replaced_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Bench()
    left = [1]

    def damage(_call: Call, body: bytes) -> bytes:
        return b"!" + body[1:] if left and left.pop() else body

    monkeypatch.setattr("support.memory_store._check_digest", lambda *_: None)
    made.destination.damaged_put = damage
    assert made.copied().outcome is Outcome.COPIED
    assert made.arrived()
    assert made.puts() == (2, 0)


# --- what cannot be the way ---------------------------------------------------------------------------------

TOO_BIG = errors.ObjectRefused("too big", status=413, code="EntityTooLarge", side=WhichSide.DESTINATION)
UNSIGNED = errors.UnsignedPayloadRefused("hash it first", side=WhichSide.DESTINATION)
MISSING = errors.FeatureUnsupported("not implemented", status=501, side=WhichSide.DESTINATION)
ODD = errors.ObjectRefused("no", status=400, side=WhichSide.DESTINATION)
ELSEWHERE = errors.WrongRegion("moved for the moment", status=307, side=WhichSide.DESTINATION)
EXPIRED = errors.CredentialsExpired("expired", status=403, side=WhichSide.DESTINATION)


@pytest.mark.parametrize(
    ("refusal", "most"),
    [
        (TOO_BIG, len(BODY) - 1),
        (UNSIGNED, 0),
        (MISSING, 0),
        (ODD, SINGLE_PUT_MAX),
        (ELSEWHERE, SINGLE_PUT_MAX),
        (EXPIRED, SINGLE_PUT_MAX),
    ],
    ids=["413", "unsigned", "501", "400", "307", "expired"],
)
def test_a_refusal_leads_to_parts_and_is_remembered_where_it_speaks_of_the_endpoint(
    refusal: errors.StoreError, most: int
) -> None:
    made = Bench()
    made.destination.before = at("PutObject", raising(refusal), 1)
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (1, 1)
    assert made.arrived() or made.destination.objects["k"].body == BODY
    assert made.route.single_puts.most == most
    assert str(refusal) in made.told.troubles[0].message


def test_after_a_refusal_the_next_object_goes_in_parts_at_once() -> None:
    made = Bench()
    made.destination.before = at("PutObject", raising(TOO_BIG))
    made.copied()
    made.destination.objects.clear()
    made.copied()
    assert made.puts() == (1, 2)


@pytest.mark.parametrize("faults", [1, 2])
def test_a_connection_that_breaks_twice_leads_to_parts(faults: int) -> None:
    made = Bench()
    made.destination.before = at("PutObject", raising(errors.ConnectionFailed("closed")), *range(1, faults + 1))
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == ((2, 1) if faults == 2 else (2, 0))
    assert made.route.single_puts.most == SINGLE_PUT_MAX, "it may be a fault of this object's"


def test_an_endpoint_that_is_down_is_no_reason_for_parts() -> None:
    made = Bench()
    made.blameless = True
    made.destination.before = at("PutObject", raising(errors.ConnectionFailed("closed")), 1, 2, 3)
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (4, 0)


def test_a_source_that_breaks_twice_leads_to_parts_and_says_nothing_of_the_destination() -> None:
    made = Bench()
    made.source.before = at("GetObject", raising(errors.ConnectionFailed("closed")), 2, 4)
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (0, 1)  # neither PUT had all of its body
    assert made.route.single_puts.most == SINGLE_PUT_MAX


def test_an_acknowledgement_before_all_was_sent_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Bench()

    def too_soon(_key: str, read: Reader, *_: object, **__: object) -> WriteResult:
        read(1)
        return WriteResult(made.source.objects["k"].etag, None, {})

    monkeypatch.setattr(made.destination, "put_from", too_soon)
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (0, 1)
    assert made.arrived()
    assert "before all of it was sent" in made.told.troubles[0].message


def test_a_put_that_broke_after_minutes_is_not_begun_again() -> None:
    made = Bench()
    made.clock = iter(range(0, 10_000, 200)).__next__
    made.destination.before = at("PutObject", raising(errors.ConnectionFailed("closed")), 1)
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (1, 1)


def test_some_objects_that_had_to_go_in_parts_are_enough() -> None:
    puts = SinglePuts()
    for _ in range(MOST_FAILURES - 1):
        learn(puts, ODD, 1)
    assert puts.most == SINGLE_PUT_MAX
    learn(puts, ODD, 1)
    assert puts.most == 0


def test_a_version_that_landed_after_all_is_not_written_again_in_parts() -> None:
    made = Bench()
    made.destination.before = at("PutObject", raising(errors.ConnectionFailed("closed")), 1, 2)
    looks: list[Job] = []

    def landed(job: Job) -> Ended | None:
        looks.append(job)
        return job.already_there(Stored("e", "v")) if len(looks) == 2 else None

    job = made.job()
    job.landed = landed
    assert made.copied(job).outcome is Outcome.ALREADY_THERE
    assert made.puts() == (2, 0)


def test_what_is_there_already_is_read_into_the_buffer_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schema.plan.WHOLE_MAX", 16 * MIB)
    body = bytes(17 * MIB)
    made = Bench(budget=12 * MIB, body=body)  # one window of 8 MiB, and no room for another
    made.destination.hold("k", body, HEADERS, TAGS).etag = "0" * 32 + "-3"
    ended: list[Ended | None] = []
    job = made.job()
    thread = threading.Thread(target=lambda: ended.append(copy_large(job)), daemon=True)
    thread.start()
    thread.join(20)
    made.stop.request()
    made.stop.request()
    assert [each.row.outcome for each in ended if each and isinstance(each.row, Completion)] == [Outcome.ALREADY_THERE]
    made.nothing_held()


def test_a_destination_that_finds_fault_with_what_is_right_gets_parts() -> None:
    made = Bench()
    made.destination.before = at("PutObject", raising(errors.DigestMismatch("BadDigest", side=WhichSide.DESTINATION)))
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (2, 1)


def test_damage_in_a_put_that_took_minutes_leads_to_parts_at_once() -> None:
    made, damaged = Bench(), [True]
    made.clock = iter(range(0, 10**6, 1000)).__next__
    made.destination.damaged_put = lambda _call, body: b"!" + body[1:] if damaged and damaged.pop() else body
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (1, 1)
    assert made.arrived()


def test_an_etag_of_something_large_that_is_no_md5_is_believed_after_a_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish = MemoryStore._publish

    def otherwise(store: MemoryStore, key: str, body: bytes, _etag: str, headers: Any) -> Any:
        return publish(store, key, body, "0" * 31 + "1", headers)

    monkeypatch.setattr(MemoryStore, "_publish", otherwise)
    made = Bench()
    assert made.copied().outcome is Outcome.COPIED
    assert made.puts() == (2, 0)
    assert made.destination.objects["k"].body == BODY


def test_a_connection_that_was_closed_while_the_source_was_slow_says_nothing_of_the_destination() -> None:
    made, now = Bench(), [0.0]
    made.clock = lambda: now[0]

    def slowly() -> None:
        now[0] += 30

    made.source.before = at("GetObject", slowly, 2)
    made.destination.after = at("PutObject", raising(errors.ConnectionFailed("closed", side=WhichSide.DESTINATION)), 1)
    job = made.job()
    copy_large(job)
    assert made.route.single_puts.most == SINGLE_PUT_MAX
    assert made.route.single_puts._failures == 0


def test_sizes_that_are_refused_one_after_the_other_end_it() -> None:
    puts = SinglePuts()
    for size in range(MOST_FAILURES):
        learn(puts, errors.ObjectRefused("too big", status=413), 100 * MIB - size)
    assert puts.most == 0
