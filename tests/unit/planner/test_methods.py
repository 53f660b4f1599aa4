"""Each batch travels by one method, the right one, and its section says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import MemoryManifests, declare, listed, plan
from support.sample_plan import check_plan

from planner.methods import STREAMED, MethodChoice, choose_method, chooser, settle_method
from schema.declaration import Declaration, Pair, Policy, Preserve, Side
from schema.errors import DeclarationError
from schema.facts import Capabilities
from schema.files.plan_document import to_document
from schema.objects import ListedObject
from schema.plan import Action, Entry, Method, Plan
from schema.tiers import GIB, KIB, MAX_PART

COPIES = MethodChoice(Method.SERVER_COPY, "one endpoint")
NO_PARTS = MethodChoice(Method.SERVER_COPY, "one endpoint", "it copies no parts, which big objects need")
COPIED, SENT = Method.SERVER_COPY, Method.STREAM
PARTS_ETAG = "0123456789abcdef0123456789abcdef-2"


def entry(size: int, etag: str = "0" * 32) -> Entry:
    return Entry("k", size, etag, Action.COPY)


@pytest.mark.parametrize(
    ("choice", "keep", "entries", "method"),
    [
        (STREAMED, False, [entry(1)], SENT),
        (COPIES, False, [entry(MAX_PART + 1)], COPIED),
        (COPIES, True, [entry(1, PARTS_ETAG)], COPIED),
        (NO_PARTS, False, [entry(MAX_PART)], COPIED),
        (NO_PARTS, False, [entry(MAX_PART + 1)], SENT),
        (NO_PARTS, False, [entry(1, PARTS_ETAG)], COPIED),
        (NO_PARTS, True, [entry(1, PARTS_ETAG)], SENT),
        (NO_PARTS, True, [entry(0, PARTS_ETAG)], COPIED),
        (NO_PARTS, True, [entry(1), entry(1, PARTS_ETAG), entry(1)], SENT),
    ],
)
def test_what_needs_parts_is_streamed_where_no_parts_are_copied(
    choice: MethodChoice, keep: bool, entries: list[Entry], method: Method
) -> None:
    assert chooser(choice, Preserve(part_layout=keep), "main")(entries) is method


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_customers_key_on_either_side_rules_out_copies_by_the_endpoint(side: str) -> None:
    same = Side(bucket="b", endpoint_url="http://one.example:9000")
    sealed = replace(same, sse_customer_key_env="KEY")
    pair = Pair("main", sealed if side == "source" else same, sealed if side == "destination" else same)
    choice = choose_method(declare(pairs=(pair,)), pair, lambda: "")
    assert (choice.method, f"the {side} is encrypted with a customer's key" in choice.reason) == (SENT, True)
    with pytest.raises(DeclarationError, match=f"server-copy, but the {side} is encrypted"):
        choose_method(declare(pairs=(pair,), policy=Policy(transfer="server-copy")), pair, lambda: "")


def test_a_declaration_that_insists_is_refused_for_an_object_that_cannot_be_copied() -> None:
    insisting = MethodChoice(Method.SERVER_COPY, "one endpoint", NO_PARTS.parts_reason, insisted=True)
    choose = chooser(insisting, Preserve(), "main")
    assert choose([entry(MAX_PART)]) is COPIED
    with pytest.raises(
        DeclarationError, match=r"it copies no parts, .*'k' of 6.0 GiB is one of them. Declare transfer: auto"
    ):
        choose([entry(6 * GIB)])


def settled(facts: Mapping[str, str], transfer: str = "auto", *, part_layout: bool = False) -> MethodChoice:
    side = Side("b", endpoint_url="http://one.example")
    pair = Pair("main", side, side)
    declaration = Declaration(
        "test", (pair,), policy=Policy(transfer=transfer), preserve=Preserve(part_layout=part_layout)
    )
    return settle_method(declaration, pair, COPIES, destination=Capabilities(facts))


@pytest.mark.parametrize(
    ("fact", "word"),
    [("rejected", "refuses"), ("ignored", "does not bring"), ("unknown", "no usable answer"), ("enforced", "")],
)
def test_the_probe_of_part_copies_decides_on_parts_alone(fact: str, word: str) -> None:
    choice = settled({"part_copy": fact, "copy_metadata": "enforced"})
    assert choice.method is COPIED
    assert (word in choice.parts_reason, bool(choice.parts_reason)) == (True, bool(word))
    if word:
        assert choice.parts_reason.endswith("which objects above 5.0 GiB need")
        kept = settled({"part_copy": fact}, part_layout=True).parts_reason
        assert kept.endswith("which objects above 5.0 GiB and objects whose part layout is kept need")


def test_what_was_not_probed_is_taken_to_be_as_at_aws() -> None:
    assert settled({}) == COPIES


def test_where_copyobject_fails_everything_is_streamed() -> None:
    refusing = {"copy_metadata": "rejected", "part_copy": "enforced"}
    assert settled(refusing) == MethodChoice(Method.STREAM, "the endpoint refuses CopyObject")
    with pytest.raises(DeclarationError, match="refuses CopyObject"):
        settled(refusing, "server-copy")


def test_conditions_that_copyobject_refuses_are_no_reason_to_stream() -> None:
    unconditional = {"copy_source_if_match": "rejected", "copy_if_none_match": "rejected", "copy_metadata": "enforced"}
    assert settled(unconditional).method is Method.SERVER_COPY


def made(
    source: list[ListedObject],
    manifests: MemoryManifests,
    staging: Path,
    choice: MethodChoice,
    base: Plan | None = None,
    extraneous: Sequence[str] = ("extraneous/1", "extraneous/2"),
) -> Plan:
    targets = dict.fromkeys(("tiny", "small", "medium", "large", "huge", "canary", "markers", "deletes"), 3)
    declaration = declare(policy=Policy(delete_extraneous="after-verify"), preserve=Preserve(part_layout=True))
    return plan(
        declaration, source, [listed(key) for key in extraneous], manifests=manifests, staging=staging,
        base=base, targets=targets, choice=choice,
    )  # fmt: skip


contents = st.tuples(st.sampled_from([0, 1, 300 * KIB, 5 * GIB, 5 * GIB + 1, 17 * GIB]), st.booleans())
inventories = st.dictionaries(st.integers(0, 99).map("n{:02d}".format), contents, max_size=60)


def objects(inventory: Mapping[str, tuple[int, bool]]) -> list[ListedObject]:
    return [listed(key, size, PARTS_ETAG if parts else "0" * 32) for key, (size, parts) in inventory.items()]


@given(inventories, inventories)
def test_every_entry_is_in_one_batch_of_its_method(tmp_path_factory, inventory, later) -> None:
    """The method is told again here, from the size and the ETag alone; and a plan on a base keeps to it."""
    staging, manifests = tmp_path_factory.getbasetemp() / "staging", MemoryManifests()
    first = made(objects(inventory), manifests, staging, NO_PARTS)
    repeated = MemoryManifests()
    assert made(objects(inventory), repeated, staging, NO_PARTS) == first
    assert made(objects(inventory), repeated, staging, NO_PARTS, base=first) is first
    assert repeated.kept == manifests.kept
    for one, held in ((first, inventory), (made(objects(later), manifests, staging, NO_PARTS, base=first), later)):
        found = Counter(entry.key for batch in one.batches for entry in manifests.entries(batch.manifest))
        assert found == Counter([*held, "extraneous/1", "extraneous/2"])
        for batch in one.batches:
            for held_entry in manifests.entries(batch.manifest):
                size, parts = held.get(held_entry.key, (0, False))
                wanted = SENT if size > 5 * GIB or (parts and size) else COPIED
                assert batch.method == (None if held_entry.action is Action.DELETE else wanted)
        assert set(one.sections[0].methods) == {batch.method for batch in one.batches} - {None}
        check_plan(to_document(one), one)


def test_reads_are_counted_only_of_what_is_streamed(tmp_path: Path) -> None:
    """10 copied objects: a write each, no read, no byte; one of 6 GiB in parts of 16 MiB: 384 reads, 386 writes."""
    source = [listed(f"n{number}", 3 * GIB) for number in range(10)] + [listed("sent", 6 * GIB)]
    mixed = made(source, MemoryManifests(), tmp_path, NO_PARTS, extraneous=())
    assert mixed.estimate["requests"]["get"] == 384
    assert mixed.estimate["requests"]["put"] == 10 + 386
    alone = made(source[-1:], MemoryManifests(), tmp_path, NO_PARTS, extraneous=())
    assert mixed.estimate["duration"]["expected"] == alone.estimate["duration"]["expected"]
    rows = {row["tier"]: row["method"] for row in mixed.tiers}
    assert rows["large"] == "copied by the endpoint: whole; streamed: parts of up to 16.0 MiB"
    copied = made(source, MemoryManifests(), tmp_path, COPIES, extraneous=())
    assert (copied.estimate["requests"]["get"], copied.estimate["requests"]["put"]) == (0, 10 + 98)
    assert copied.estimate["memory_per_worker"]["expected"] == "150.0 MiB"
    assert mixed.estimate["memory_per_worker"]["expected"] != "150.0 MiB"


def test_before_deletes_what_was_copied_is_read_at_both_ends(tmp_path: Path) -> None:
    """36 GiB in windows of 8 MiB, twice, beside the 384 reads of what is streamed."""
    source = [listed(f"n{number}", 3 * GIB) for number in range(10)] + [listed("sent", 6 * GIB)]
    deleting = made(source, MemoryManifests(), tmp_path, NO_PARTS)
    assert deleting.estimate["requests"]["get"] == 384 + 2 * 36 * 128
