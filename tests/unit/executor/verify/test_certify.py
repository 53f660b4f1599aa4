"""Leaves follow from plan and ledger alone: not from who wrote the rows, in which order, or how often."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.planning import MemoryManifests, declare, listed, plan

from executor.ledger.values import Completion, FailedObject, Outcome, Run, RunState
from executor.verify.certify import Certification, metadata_digest, require_ended
from schema.declaration import Filters, OnDifferent, Policy
from schema.errors import LedgerSchemaError, RunUnfinished, StalePlan
from schema.files.certificate import Arrival, EvidenceLevel, Leaf, NotCertified, line_of
from schema.formats.merkle import Accumulator
from schema.objects import ObjectHead
from schema.plan import Plan

POLICY = Policy(on_different=OnDifferent.SKIP)
FILTERS = Filters(exclude=("tmp/**",))


class Rows:
    """Stands for ledger.reports."""

    def __init__(self, rows: dict[tuple[int, int], Completion], failed: list[FailedObject]) -> None:
        self._rows = rows
        self._failed = failed

    def completions(self, _run_id: int, batch_no: int, *, lo: int, hi: int) -> Iterator[Completion]:
        return (row for (batch, ord_), row in self._rows.items() if batch == batch_no and lo <= ord_ < hi)

    def failures(self, _run_id: int, _limit: int) -> list[FailedObject]:
        return self._failed


def made_plan(manifests: MemoryManifests, staging: Path) -> Plan:
    source = [listed(f"{'ab'[n % 2]}/{n:03}", 300_000 * (n % 3) + 1, f"{n:032x}") for n in range(40)]
    source += [listed("same", 5, "e" * 32), listed("left", 5, "1" * 32), listed("tmp/x")]
    there = [listed("same", 5, "e" * 32), listed("left", 5, "2" * 32), listed("stranger")]
    made = declare(policy=POLICY, filters=FILTERS)
    return plan(made, source, there, manifests=manifests, staging=staging)


def rows_of(made: Plan, outcome: Outcome = Outcome.COPIED) -> dict[tuple[int, int], Completion]:
    return {
        (n, ord_): Completion(n, ord_, outcome, 1, 1, f"{n}-{ord_}", ord_.to_bytes(8, "big"))
        for n, batch in enumerate(made.batches)
        for ord_ in range(batch.objects)
    }


def certified(made: Plan, manifests: MemoryManifests, rows: Any, failed: Any = ()) -> list[Leaf | NotCertified]:
    ledger = cast(Any, SimpleNamespace(reports=Rows(rows, list(failed))))
    certification = Certification(
        plan=made, routes={}, manifests=manifests, ledger=ledger, run_id=1, level=EvidenceLevel.RECORDED,
        tools=cast(Any, None),
    )  # fmt: skip
    return list(certification.records(made.sections[0]))


def root(found: list[Leaf | NotCertified]) -> str:
    tree = Accumulator()
    for record in found:
        if isinstance(record, Leaf):
            tree.add(line_of(record))
    return tree.root().hex()


def test_every_key_is_a_leaf_or_told_why_not_in_key_order(tmp_path: Path) -> None:
    manifests = MemoryManifests()
    made = made_plan(manifests, tmp_path)
    rows = rows_of(made)
    drifted, failed = sorted(rows)[3], sorted(rows)[4]
    rows[drifted] = rows[drifted]._replace(outcome=Outcome.SOURCE_CHANGED)
    del rows[failed]
    reason = FailedObject(
        failed[0], "b", failed[1], 403, "AccessRefused", "403 AccessDenied", "", cast(Any, None), "k", own=False
    )

    found = certified(made, manifests, rows, [reason])

    leaves = [n for n in found if isinstance(n, Leaf)]
    others = {n.key: (n.kind, n.detail, n.source) for n in found if isinstance(n, NotCertified)}
    assert [n.key for n in found] == sorted(n.key for n in found)
    assert len(leaves) == 38 + 1
    assert sorted(kind for kind, _, _ in others.values()) == [
        "drifted", "excluded", "extraneous", "left-alone", "not-copied",
    ]  # fmt: skip
    assert ("not-copied", "AccessRefused: 403 AccessDenied") in {value[:2] for value in others.values()}
    assert others["left"][:2] == ("left-alone", "the ETags differ")
    assert others["stranger"][2] == ""
    same = next(n for n in leaves if n.key == "same")
    assert (same.arrival, same.digest, same.etag) == (Arrival.SKIPPED, f"md5:{'e' * 32}", "e" * 32)
    assert {n.evidence for n in leaves} == {EvidenceLevel.RECORDED}


def test_the_root_depends_on_no_worker_and_no_order(tmp_path: Path) -> None:
    manifests = MemoryManifests()
    made = made_plan(manifests, tmp_path)
    rows = rows_of(made)
    shuffled = list(rows.items())
    random.Random(7).shuffle(shuffled)
    others = {place: row._replace(attempts=9) for place, row in shuffled}

    assert root(certified(made, manifests, rows)) == root(certified(made, manifests, others))


@pytest.mark.parametrize(
    "change", [{"destination_etag": "other"}, {"checksum": b"12345678"}, {"destination_version": "v"}]
)
def test_the_root_depends_on_each_object(tmp_path: Path, change: dict[str, Any]) -> None:
    manifests = MemoryManifests()
    made = made_plan(manifests, tmp_path)
    rows = rows_of(made)
    before = root(certified(made, manifests, rows))
    rows[0, 0] = rows[0, 0]._replace(**change)

    assert root(certified(made, manifests, rows)) != before


@pytest.mark.parametrize("state", list(RunState))
def test_only_a_run_that_has_ended_is_certified(state: RunState) -> None:
    progress = SimpleNamespace(done=3, objects=10)
    ledger = SimpleNamespace(
        reports=SimpleNamespace(progress=lambda _run: progress),
        checks=SimpleNamespace(contradictions=lambda _run: []),
    )
    run = Run(1, 1, "sha256:0", state)
    if state in (RunState.COMPLETE, RunState.FAILED):
        require_ended(cast(Any, ledger), run)
        ledger.checks.contradictions = lambda _run: ["chunk 3 was altered"]
        with pytest.raises(LedgerSchemaError, match="chunk 3 was altered"):
            require_ended(cast(Any, ledger), run)
    else:
        with pytest.raises(StalePlan if state is RunState.SUPERSEDED else RunUnfinished):
            require_ended(cast(Any, ledger), run)


def test_the_metadata_digest_is_over_what_a_head_shows() -> None:
    head = ObjectHead({"content-type": "text/plain", "x-amz-meta-a": "1", "date": "now", "etag": "e"}, 1, "e")
    later = ObjectHead({**head.headers, "date": "later"}, 1, "e")
    other = ObjectHead({**head.headers, "x-amz-meta-a": "2"}, 1, "e")

    # sha256 of {"content-type":"text/plain","x-amz-meta-a":"1"}
    assert metadata_digest(head) == "sha256:c3afa18c551c10fd7f271baead101aab0722c6813600d630888493c697e99037"
    assert metadata_digest(later) == metadata_digest(head)
    assert metadata_digest(other) != metadata_digest(head)
