"""A write that the proof on the way finds to hold other bytes than the source is written again, a few times at most.

Nothing else shows it: neither side's ETags are MD5s, and no checksum is stated or checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from support.memory_run import Killed, Mortal, expire_leases, hurried, plan_of, run
from support.memory_store import Call, MemoryStore
from support.postgres import PostgresServer
from support.silent import Told

from executor.ledger.ledger import Ledger
from executor.ledger.values import Progress, RunState
from schema.files.plan_document import with_plan_id
from schema.plan import Gate, Plan
from schema.tiers import MIB

SOURCE = {"etag_is_md5": "ignored"}
BLIND = {"etag_is_md5": "ignored", "content_md5": "ignored", "tagging": "enforced"}
"""A destination that checks nothing of what it is sent."""
GUARDED = {"if_none_match": "enforced", "if_match": "enforced"}
GUARDED |= {"complete_if_none_match": "enforced", "complete_if_match": "enforced"}
WHOLE, PARTS = bytes(700), bytes(range(256)) * (11 * MIB // 256)
REWRITES = 2

Damage = Callable[[Call, bytes], bytes]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch)
    monkeypatch.setattr("executor.attempts.delay", lambda *_words, **_named: 0.0)


def first(times: int) -> Damage:
    """The first *times* bodies lose a bit, each another one."""
    left = list(range(times))

    def damaged(_call: Call, body: bytes) -> bytes:
        if not left:
            return body
        at = left.pop() % len(body)
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    return damaged


class Trial(NamedTuple):
    """One object, planned; it goes first, and so is proven on the way."""

    source: MemoryStore
    destination: MemoryStore
    ledger: Ledger
    told: Told
    plan: Plan
    apply: Callable[..., Progress]

    def whole(self, nameless: int = 0) -> None:
        """The ledger does not contradict itself, and nothing is left behind, but empty uploads that nobody knows of."""
        found = self.ledger.runs.find(self.plan.plan_id)
        assert found is not None
        assert self.ledger.checks.contradictions(found.run_id) == []
        assert list(self.ledger.uploads.unfinished(found.run_id)) == []
        assert [upload.parts for upload in self.destination.open.values()] in [[{}] * n for n in range(nameless + 1)]


def trial(ledger: Ledger, folder: Path, body: bytes, *, guards: bool = True) -> Trial:
    source, destination, told = MemoryStore("from"), MemoryStore("to", guards=guards), Told()
    source.hold("k", body, [("x-amz-meta-a", "b")], [("k", "v w")])
    facts = BLIND | (GUARDED if guards else dict.fromkeys(GUARDED, "ignored"))
    plan, manifests = plan_of(source, destination, folder, facts=facts, source_facts=SOURCE)
    verified = tuple(replace(stage, gate=Gate.VERIFIED) for stage in plan.stages)
    plan = with_plan_id(replace(plan, stages=verified))

    def apply(by: Mortal | None = None) -> Progress:
        kept = (source, destination) if by is None else (by.wrapped(source), by.wrapped(destination))
        return run(plan, manifests, *kept, ledger if by is None else by.wrapped(ledger), events=told, workers=1)

    return Trial(source, destination, ledger, told, plan, apply)


@pytest.mark.parametrize("body", [WHOLE, PARTS], ids=["whole", "parts"])
@pytest.mark.parametrize(
    ("times", "leg", "guards"),
    [(0, "read", True), (1, "read", True), (1, "read", False), (1, "write", False), (2, "write", True)],
)
def test_a_damaged_write_is_written_again(
    ledger: Ledger, tmp_path: Path, *, times: int, leg: str, body: bytes, guards: bool
) -> None:
    tried = trial(ledger, tmp_path, body, guards=guards)
    if leg == "read":
        tried.source.damaged_get = first(times)
    else:
        tried.destination.damaged_put = first(times)
    assert tried.apply().state is RunState.COMPLETE
    assert tried.destination.state() == tried.source.state()
    assert {trouble.reason for trouble in tried.told.troubles} == ({"WrittenAgain"} if times else set())
    tried.whole()


@pytest.mark.parametrize("body", [WHOLE, PARTS], ids=["whole", "parts"])
def test_one_that_is_damaged_each_time_is_given_up(ledger: Ledger, tmp_path: Path, body: bytes) -> None:
    tried = trial(ledger, tmp_path, body)
    tried.destination.damaged_put = first(1000)
    progress = tried.apply()
    assert (progress.state, progress.verify_failed) == (RunState.FAILED, 1)
    writes = "PutObject" if body is WHOLE else "CompleteMultipartUpload"
    assert tried.destination.count(writes) == 1 + REWRITES
    (said,) = [row.message for row in ledger.reports.failures(progress.run_id)]
    assert "written 3 times, with other bytes each time: content: " in said
    tried.whole()
    tried.destination.damaged_put = first(0)
    ledger.runs.retry(progress.run_id, who="operator", tool_version="")
    assert tried.apply().state is RunState.COMPLETE
    assert tried.destination.state() == tried.source.state()
    tried.whole()


@pytest.mark.parametrize("guards", [True, False], ids=["guarded", "unguarded"])
@pytest.mark.parametrize("body", [WHOLE, PARTS], ids=["whole", "parts"])
def test_what_somebody_else_wrote_meanwhile_is_left_alone(
    ledger: Ledger, tmp_path: Path, *, body: bytes, guards: bool
) -> None:
    tried = trial(ledger, tmp_path, body, guards=guards)
    tried.source.damaged_get = first(1)
    theirs = b"1" * len(body)

    def stranger(_call: Call) -> None:
        if tried.told.troubles:
            tried.destination.hold("k", theirs)

    tried.source.before = stranger
    progress = tried.apply()
    assert (progress.state, progress.verify_failed) == (RunState.FAILED, 1)
    assert tried.destination.objects["k"].body == theirs
    assert "not written again" in "".join(row.message for row in ledger.reports.failures(progress.run_id))
    tried.whole()


def killed_at(url: str, folder: Path, body: bytes, *, at: int, acted: bool) -> bool:
    """Damage, death at that call of the ends and the ledger, then another process. False: there was no such call."""
    ledger = Ledger(url)
    tried = trial(ledger, folder, body)
    tried.destination.damaged_put = first(1)
    mortal = Mortal(at, acted=acted)
    try:
        with contextlib.suppress(Killed):
            tried.apply(mortal)
        expire_leases(url)
        progress = tried.apply()
        # Killed before the ledger knew of the damaged write: nobody can tell whose it is.
        assert (tried.destination.state() == tried.source.state()) is not bool(progress.drifted)
        assert progress.state is RunState.COMPLETE
        tried.whole(nameless=1)
    finally:
        ledger.close()
    return mortal.dead


@pytest.mark.parametrize("body", [WHOLE, PARTS], ids=["whole", "parts"])
def test_a_process_that_dies_behind_the_second_write_is_no_obstacle(
    ledger: Ledger, ledger_url: str, tmp_path: Path, body: bytes
) -> None:
    tried = trial(ledger, tmp_path, body)
    tried.destination.damaged_put = first(1)
    mortal = Mortal(10**9, acted=True)
    write = "PutObject" if body is WHOLE else "CompleteMultipartUpload"

    def second(call: Call) -> None:
        if call.operation == write and tried.destination.count(write) == 2:
            mortal.dead = True
            raise Killed

    tried.destination.after = second
    with pytest.raises(Killed):
        tried.apply(mortal)
    expire_leases(ledger_url)
    tried.destination.after = lambda _call: None
    assert tried.apply().state is RunState.COMPLETE
    assert tried.destination.state() == tried.source.state()
    tried.whole()


@pytest.mark.soak
@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("body", [WHOLE, PARTS], ids=["whole", "parts"])
def test_wherever_the_process_dies(
    postgres_server: PostgresServer, tmp_path: Path, *, body: bytes, acted: bool
) -> None:
    at = 1
    while killed_at(postgres_server.url_of(postgres_server.clone()), tmp_path, body, at=at, acted=acted):
        at += 1
    assert at > 30
