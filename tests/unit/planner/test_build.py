"""A whole plan from two listings: what goes where, what is refused, and what is left behind when it fails."""

from __future__ import annotations

import dataclasses
import tracemalloc
import uuid

import pytest
from support.planning import (
    BUDGET,
    DESTINATION,
    SOURCE,
    Bucket,
    MemoryManifests,
    declare,
    listed,
    md5,
    moved,
    pair_inputs,
    plan,
    side,
)
from support.sample_plan import check_plan

from planner.batches import TARGETS
from planner.build import build_plan
from planner.inputs import PairInputs, PlanInputs
from planner.reasons import Reason
from planner.review.calibration import Borne, Calibration, PlanningMachine
from schema.declaration import Declaration, Filters, Guards, MappingRule, OnDifferent, Pair, Policy, Preserve
from schema.errors import DeclarationError, ListingRefused, Throttled, WhichSide
from schema.files.manifest import ManifestFolder
from schema.files.plan_document import to_document
from schema.files.planfile import load_plan, write_plan
from schema.limits import Limits
from schema.plan import Action, Gate, ListingKind, Plan
from schema.tiers import GIB, MIB
from storage.listing.source import BucketSource
from storage.port import Listing, PageTally

DELETING = Policy(delete_extraneous="after-verify")


@pytest.fixture
def bench(tmp_path):
    """Manifests and a staging folder; the folder must be empty whenever a plan has been made."""
    manifests = MemoryManifests()

    class Bench:
        def plan(self, declaration, source, destination=(), **more) -> Plan:
            made = plan(declaration, source, destination, manifests=manifests, staging=tmp_path / "s", **more)
            assert self.leftovers() == []
            check_plan(to_document(made), made)
            return made

        def moved(self, made: Plan):
            return moved(made, manifests)

        def side(self, made: Plan, name: str):
            return side(made, manifests, name)

        def leftovers(self) -> list[str]:
            return [path.name for path in (tmp_path / "s").glob("**/*")]

    bench = Bench()
    bench.manifests, bench.staging = manifests, tmp_path / "s"
    return bench


def summary(made: Plan) -> dict[str, int]:
    return {name: tally.objects for name, tally in made.sections[0].summary.items() if tally.objects}


def test_every_kind_of_key_ends_in_its_place(bench) -> None:
    source = [
        listed("new"),
        listed("same"),
        listed("other", etag=md5("x"), modified=9_000),
        listed("newer-there", etag=md5("x")),
        listed("cold", storage_class="GLACIER"),
        listed("tmp/x"),
    ]
    destination = [listed("same"), listed("other"), listed("newer-there", modified=9_000), listed("alone"),
                   listed("tmp/x"), listed("tmp/y")]  # fmt: skip
    made = bench.plan(declare(filters=Filters(exclude=("tmp/**",))), source, destination)
    assert {(entry.key, entry.action) for entry in bench.moved(made)} == {
        ("new", Action.COPY),
        ("other", Action.OVERWRITE),
    }
    sides = {
        name: [(entry.key, entry.reason) for entry in bench.side(made, name)]
        for name in made.sections[0].side_manifests
    }
    assert sides == {
        "skip": [("same", Reason.SAME_ETAG)],
        "conflict": [("newer-there", Reason.DESTINATION_NEWER)],
        "unsupported": [("cold", Reason.ARCHIVED)],
        "excluded": [("tmp/x", Reason.EXCLUDED_BY_GLOB)],
        "extraneous": [("alone", Reason.NOT_AT_SOURCE), ("tmp/y", Reason.FILTERED_AT_DESTINATION)],
    }
    assert summary(made) == {
        "copy": 1, "overwrite": 1, "skip": 1, "conflict": 1, "unsupported": 1, "excluded": 1, "extraneous": 2,
        "listed": 6, "transfer": 2,
    }  # fmt: skip


def test_an_overwrite_is_pinned_to_what_the_listing_saw(bench) -> None:
    made = bench.plan(declare(), [listed("k", etag=md5("new"), modified=5)], [listed("k", etag="seen", modified=4)])
    (entry,) = bench.moved(made)
    assert (entry.action, entry.etag, entry.destination_etag) == (Action.OVERWRITE, md5("new"), "seen")
    assert entry.destination_key is None


def test_two_empty_buckets(bench) -> None:
    made = bench.plan(declare(), [])
    assert made.batches == made.stages == made.tiers == ()
    assert summary(made) == {}


def test_a_single_object_has_no_canary_and_two_have_one(bench) -> None:
    assert [stage.id for stage in bench.plan(declare(), [listed("a")]).stages] == ["bulk"]
    made = bench.plan(declare(), [listed("a"), listed("b")])
    assert [(stage.id, stage.gate) for stage in made.stages] == [("canary", Gate.VERIFIED), ("bulk", Gate.COPIED)]
    assert [(batch.stage, batch.objects) for batch in made.batches] == [("canary", 1), ("bulk", 1)]


def test_stages_and_tiers(bench) -> None:
    source = [
        listed("a", 1), listed("b", MIB), listed("c", 20 * MIB), listed("d", GIB), listed("e", 20 * GIB),
        listed("f/_SUCCESS", 0), listed("g", 5, storage_class="DEEP_ARCHIVE"), listed("h", 5),
        listed("i", 20 * MIB), listed("j", MIB),
    ]  # fmt: skip
    policy = dataclasses.replace(DELETING, on_archived="restore")
    made = bench.plan(declare(policy=policy), source, [listed("zzz")])
    placed = [(b.stage, b.tier, b.keys[0]) for b in made.batches]
    assert placed == [
        ("canary", "canary", "a"),
        ("huge", "huge", "e"),
        ("bulk", "tiny", "h"),
        ("bulk", "small", "j"),
        ("bulk", "medium", "i"),
        ("bulk", "large", "d"),
        ("archived", "tiny", "g"),
        ("markers", "markers", "f/_SUCCESS"),
        ("deletes", "deletes", "zzz"),
    ]
    assert {stage.gate for stage in made.stages if stage.id != "deletes"} == {Gate.VERIFIED}


def test_deletes_are_pinned_and_spare_what_filters_name(bench) -> None:
    declaration = declare(policy=DELETING, filters=Filters(exclude=("keep/**",)), guards=Guards(max_deletes=5))
    there = [listed("b", 7), listed("keep/d"), listed("keep/s")]
    made = bench.plan(declaration, [listed("a"), listed("keep/s")], there)
    (delete,) = [entry for entry in bench.moved(made) if entry.action is Action.DELETE]
    assert (delete.key, delete.size, delete.destination_etag, delete.version_id) == ("b", 7, md5("7"), None)
    assert [entry.key for entry in bench.side(made, "extraneous")] == ["keep/d"]
    assert [entry.key for entry in bench.side(made, "excluded")] == ["keep/s"]


@pytest.mark.parametrize(
    "fact", [{"folds_leading_slash": "enforced"}, {"case_insensitive": "enforced"}, {"key_double_slash": "ignored"}]
)
def test_where_keys_are_folded_only_what_no_source_key_can_have_become_is_deleted(bench, fact) -> None:
    """It lists our own '/a' as 'a', which no source key is called."""
    source = [listed("/a"), listed("B"), listed("c//d"), listed("same")]
    there = [listed(key) for key in ("a", "b", "c/d", "gone", "same", "z/gone")]
    guards = Guards(max_deletes=5)
    made = bench.plan(declare(policy=DELETING, guards=guards), source, there, facts=({}, fact))
    deleted = [entry.key for entry in bench.moved(made) if entry.action is Action.DELETE]
    touched = ["a", "b", "c/d"] if "case_insensitive" in fact else ["a", "c/d"]
    assert deleted == [key for key in ("b", "gone", "z/gone") if key not in touched]
    assert [entry.key for entry in bench.side(made, "extraneous")] == touched
    assert {entry.reason for entry in bench.side(made, "extraneous")} == {Reason.FOLDED_AT_DESTINATION}
    (risk,) = [risk for risk in made.risks if risk.id == "deletes-withheld"]
    assert f"{len(touched)} extraneous destination objects not deleted" in risk.text and "'c/d'" in risk.text


def test_where_nobody_knows_what_a_key_became_nothing_is_deleted(bench) -> None:
    """And without such a key all is: the control."""
    facts = ({}, {"key_control": "ignored"})
    declaration = declare(policy=DELETING, guards=Guards(max_deletes=5))
    for odd, action in (([listed("a\x01b")], "extraneous"), ([], "delete")):
        made = bench.plan(declaration, [*odd, listed("k")], [listed("a_b"), listed("k")], facts=facts)
        assert summary(made)[action] == 1


def test_a_listing_whose_other_side_fails_is_closed(bench) -> None:
    closed = []

    class Watched(Bucket):
        def _listed(self, prefix):
            try:
                yield from super()._listed(prefix)
            finally:
                closed.append(True)

    objects = [listed(f"{number:05d}") for number in range(2_000)]
    with pytest.raises(Throttled):
        bench.plan(declare(), Watched(objects), Bucket(objects, fails_after=1_000, error=Throttled("slow down")))
    assert closed == [True]


@pytest.mark.parametrize("store", ["s3://to/plans", "s3://to", "s3://from/x/"])
def test_manifests_inside_a_migrated_bucket_are_refused(bench, store: str) -> None:
    with pytest.raises(DeclarationError, match="would lie inside the"):
        bench.plan(declare(manifests=store), [])


@pytest.mark.parametrize("broken", ["source", "destination"])
@pytest.mark.parametrize("after", [0, 3, 1_500])
@pytest.mark.parametrize("versions", ["latest", "all"])
def test_a_listing_that_fails_leaves_no_plan_and_no_file(bench, broken: str, after: int, versions: str) -> None:
    error = Throttled("slow down")
    objects = [listed(f"k{number:04d}", version_id="v") for number in range(1_500)]
    ends = {"source": Bucket(objects), "destination": Bucket(objects[::2])}
    ends[broken] = Bucket(ends[broken].objects[:after], fails_after=after, error=error)
    policy = dataclasses.replace(DELETING, versions=versions)
    rules = (MappingRule("^k", "j"),) if after == 1_500 else ()
    with pytest.raises(Throttled) as raised:
        bench.plan(declare(policy=policy, mapping=rules), ends["source"], ends["destination"])
    assert raised.value is error
    assert bench.leftovers() == []


def test_an_unordered_listing_is_refused(bench) -> None:
    with pytest.raises(ListingRefused):
        bench.plan(declare(), Bucket([listed("b"), listed("a")], sort=False))
    assert bench.leftovers() == []


def test_prefixes(bench) -> None:
    declaration = declare(dataclasses.replace(SOURCE, prefix="in/"), dataclasses.replace(DESTINATION, prefix="out/"))
    made = bench.plan(
        declaration, [listed("in/a"), listed("in/b"), listed("inside")], [listed("out/b"), listed("other")]
    )
    assert [(entry.key, entry.target) for entry in bench.moved(made)] == [("in/a", "out/a")]
    assert [(entry.key, entry.target) for entry in bench.side(made, "skip")] == [("in/b", "out/b")]
    assert made.sections[0].mapping_examples == (("in/a", "out/a"), ("in/b", "out/b"))
    assert summary(made)["listed"] == 2


def test_mapping_examples_name_a_key_once_however_many_versions_it_has(bench) -> None:
    versions = [listed(key, 1, md5(f"{key}{n}"), n, version_id=f"{n}") for key in ("a", "b") for n in range(3)]
    ends = (SOURCE, dataclasses.replace(DESTINATION, prefix="out/"))
    made = bench.plan(declare(*ends, policy=Policy(versions="all")), versions)
    assert made.sections[0].mapping_examples == (("a", "out/a"), ("b", "out/b"))


def test_rules_that_change_the_order(bench) -> None:
    source = [listed(f"{n}/x") for n in range(10)]
    rules = (MappingRule(r"^(\d)/x$", r"x/\1"), MappingRule("x/[0-4]", "z/low-"))
    with pytest.raises(DeclarationError, match="'0/x' and '1/x' are both mapped to 'z/low-'"):
        bench.plan(declare(mapping=rules), source)
    rules = (MappingRule(r"^(\d)/x$", r"x/\1"), MappingRule(r"x/([0-4])", r"z/\1"))
    made = bench.plan(declare(mapping=rules), source, [listed("x/7"), listed("z/0"), listed("z/9")])
    assert [entry.key for entry in bench.moved(made)] == sorted(f"{n}/x" for n in range(10) if n not in (0, 7))
    assert [entry.key for entry in bench.side(made, "skip")] == ["0/x", "7/x"]
    assert [entry.key for entry in bench.side(made, "extraneous")] == ["z/9"]
    assert {entry.key: entry.target for entry in bench.moved(made)}["3/x"] == "z/3"


def test_an_excluded_key_collides_with_nobody(bench) -> None:
    declaration = declare(mapping=(MappingRule("^old-", ""),), filters=Filters(exclude=("a",)))
    made = bench.plan(declaration, [listed("a"), listed("old-a")], [listed("a")])
    assert [entry.key for entry in bench.side(made, "excluded")] == ["a"]
    assert [entry.key for entry in bench.side(made, "skip")] == ["old-a"]


def test_keys_the_destination_folds_are_refused_naming_both(bench) -> None:
    facts = ({}, {"case_insensitive": "enforced"})
    with pytest.raises(DeclarationError, match="'Readme' and 'readme'"):
        bench.plan(declare(), [listed("Readme"), listed("between"), listed("readme")], facts=facts)
    assert bench.leftovers() == []
    bench.plan(declare(filters=Filters(exclude=("R*",))), [listed("Readme"), listed("readme")], facts=facts)


def test_many_buckets_make_one_plan(bench) -> None:
    def end(name: str, where):
        return dataclasses.replace(where, bucket=name)

    pairs = tuple(Pair(name, end(name, SOURCE), end(name, DESTINATION)) for name in ("zebra", "ant"))
    inputs = pair_inputs(declare(), Bucket([listed("a"), listed("b", 2)]), Bucket())
    made = build_plan(
        PlanInputs(
            declare(pairs=pairs), {"zebra": inputs, "ant": inputs}, bench.manifests, bench.staging, budget=BUDGET
        )
    )
    check_plan(to_document(made), made)
    assert [section.id for section in made.sections] == ["zebra", "ant"]
    assert [(batch.stage, batch.section) for batch in made.batches] == [
        ("canary", "zebra"), ("canary", "ant"), ("bulk", "zebra"), ("bulk", "ant")
    ]  # fmt: skip
    assert len({batch.id for batch in made.batches}) == 4
    assert made.transfer == (4, 6)


def test_the_ledgers_memory_makes_a_replan_idempotent(bench) -> None:
    source = [listed("a", 5, "x-2"), listed("b", 5, "y-2"), listed("c", 5, "z-2", 100)]
    there = [listed("a", 5, "p-3", 9_000), listed("b", 5, "q-3", 9_000), listed("c", 5, "r-3", 9_000)]
    assert summary(bench.plan(declare(), source, there))["conflict"] == 3
    memory = [("a", "x-2", "p-3"), ("b", "old-2", "q-3"), ("b0", "", ""), ("c", "z-2", "other")]
    made = bench.plan(declare(), source, there, memory=memory)
    assert [(e.key, e.reason) for e in bench.side(made, "skip")] == [("a", Reason.COPIED_EARLIER)]
    assert [e.key for e in bench.moved(made)] == ["b"]
    assert [e.key for e in bench.side(made, "conflict")] == ["c"]


def test_versions_keep_together_and_in_order(bench) -> None:
    source = [
        listed(f"k{key}", 17 * GIB if version == 1 else 1, md5(f"{key}{version}"), version, version_id=f"{version}",
               delete_marker=version == 2)._replace(size=0 if version == 2 else 17 * GIB if version == 1 else 1)
        for key in range(5) for version in range(4)
    ]  # fmt: skip
    policy = Policy(versions="all")
    made = bench.plan(declare(policy=policy), source, targets=dict.fromkeys(
        ("tiny", "small", "medium", "large", "huge", "canary", "markers", "deletes"), 3))  # fmt: skip
    assert {batch.tier for batch in made.batches} == {"huge"}
    entries = [(entry.key, entry.version_id) for entry in bench.moved(made)]
    assert entries == [(f"k{key}", f"{version}") for key in range(5) for version in range(4)]
    assert summary(made) == {"copy": 15, "delete-marker": 5, "listed": 20, "transfer": 20}
    again = bench.plan(declare(policy=policy), source, source)
    assert summary(again) == {"skip": 20, "listed": 20}


def test_a_history_is_never_deleted_only_its_current_version(bench) -> None:
    there = [listed("gone", version_id="1"), listed("gone", version_id="2"),
             listed("marked", version_id="1"), listed("marked", 0, version_id="2", delete_marker=True)]  # fmt: skip
    made = bench.plan(declare(policy=dataclasses.replace(DELETING, versions="all")), [], there)
    assert [(entry.key, entry.version_id) for entry in bench.moved(made)] == [("gone", None)]
    assert [(entry.key, entry.version_id) for entry in bench.side(made, "extraneous")] == [
        ("gone", "1"), ("marked", "1"), ("marked", "2")
    ]  # fmt: skip


def test_versions_under_rules_that_change_the_order(bench) -> None:
    source = [listed(key, version_id=f"{n}", etag=md5(f"{key}{n}")) for key in ("a", "b", "c") for n in range(3)]
    rules = (MappingRule("^a$", "z"), MappingRule("^c$", "0"))
    made = bench.plan(declare(policy=Policy(versions="all"), mapping=rules), source, [source[3]])
    assert [entry.key + entry.version_id for entry in bench.moved(made)] == sorted(
        ["a0", "a1", "a2", "b1", "b2", "c0", "c1", "c2"]
    )


# --- identity


def test_lineage_is_of_name_and_ends(bench) -> None:
    made = bench.plan(declare(), [])
    assert str(uuid.UUID(made.lineage)) == made.lineage
    assert bench.plan(declare(policy=DELETING), []).lineage == made.lineage
    elsewhere = dataclasses.replace(DESTINATION, bucket="elsewhere")
    assert bench.plan(declare(destination=elsewhere), []).lineage != made.lineage
    renamed = dataclasses.replace(declare(), name="renamed")
    assert bench.plan(renamed, []).lineage != made.lineage


def test_serials(bench) -> None:
    first = bench.plan(declare(), [listed("a")], provenance={"generated_at": "monday"})
    assert first.serial == 1
    same = bench.plan(declare(), [listed("a")], base=first, provenance={"generated_at": "tuesday"})
    assert same == first
    second = bench.plan(declare(), [listed("a"), listed("b")], base=first)
    assert second.serial == 2
    assert second.plan_id != first.plan_id
    third = bench.plan(declare(guards=Guards(max_objects=5)), [listed("a"), listed("b")], base=second)
    assert third.serial == 3


def test_a_base_of_another_migration_is_refused(bench) -> None:
    other = bench.plan(dataclasses.replace(declare(), name="other"), [])
    with pytest.raises(Exception, match="another migration") as refused:
        bench.plan(declare(), [], base=other)
    assert refused.value.exit_code == 4


def test_progress_is_told_and_ends(bench) -> None:
    told = []
    bench.plan(declare(), [listed(f"{n:06d}") for n in range(20_000)], [listed("x")], on_progress=told.append)
    assert [event.finished for event in told].count(True) == 1
    assert told[-1] == ("main", 20_000, 1, True)
    assert len(told) >= 3
    listed_so_far = [event.source_listed for event in told]
    assert listed_so_far == sorted(listed_so_far)


def test_probes_losses_and_methods_are_passed_on(bench) -> None:
    made = bench.plan(declare(), [listed("a")], facts=({"etag_is_md5": "enforced"}, {"if_match": "ignored"}))
    section = made.sections[0]
    assert section.source_capabilities.enforces("etag_is_md5")
    assert section.destination_capabilities.facts["if_match"] == "ignored"
    assert section.methods == {"stream": "two endpoints"}
    assert {batch.method for batch in made.batches} == {"stream"}
    assert "non-atomic-writes" in {risk.id for risk in made.risks}


def test_defaults_need_no_probe(bench) -> None:
    declaration: Declaration = declare(policy=Policy(on_destination_newer=OnDifferent.SKIP), manifests="m")
    bucket = BucketSource(Bucket([listed("a")]), "", ListingKind.OBJECTS, "bucket")
    inputs = PairInputs(bucket, BucketSource(Bucket(), "", ListingKind.OBJECTS, "bucket"))
    made = build_plan(PlanInputs(declaration, {"main": inputs}, bench.manifests, bench.staging, BUDGET))
    assert made.manifest_store == "m"
    assert made.memory_budget == BUDGET


def test_a_plan_reads_back_as_it_was_and_an_unchanged_one_is_not_rewritten(bench, tmp_path) -> None:
    odd = ["a//b", "/a", "\n", "\x01", "\x85", "é", "e\u0301", "\u2028", "\ufffe", "\U0001f600", "yes", "~", "'\""]
    declaration = declare(
        mapping=(MappingRule("^a", "b"),), limits=Limits(requests_per_second=2.5), guards=Guards(max_bytes=10**15)
    )
    source = [listed(key, 17 * GIB) for key in odd]
    made = bench.plan(declaration, source, [listed("x")], provenance={"generated_at": "monday"})
    path = tmp_path / "test.plan.yaml"
    assert write_plan(path, made, bench.manifests)
    read = load_plan(path, bench.manifests)
    assert read == made
    before = path.read_bytes()
    again = bench.plan(declaration, source, [listed("x")], base=read, provenance={"generated_at": "tuesday"})
    assert not write_plan(path, again, bench.manifests)
    assert path.read_bytes() == before


class Endless:
    """Lists *count* keys without holding them."""

    bucket = "endless"

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size

    def list_objects(self, prefix: str, **_options: object):
        found = (listed(f"{prefix}data/{n:08d}", self._size, f"{n:032x}") for n in range(self._count))
        return Listing(found, PageTally(self._count))


def test_memory_does_not_grow_with_the_number_of_objects(tmp_path) -> None:
    targets = dict.fromkeys(TARGETS, 500)

    def peak(count: int) -> int:
        pair = pair_inputs(declare(), Endless(count, 1), Endless(count, 2))
        tracemalloc.reset_peak()
        made = build_plan(
            PlanInputs(
                declare(), {"main": pair}, ManifestFolder(tmp_path / "m"), tmp_path / "s", BUDGET, targets=targets
            )
        )
        assert made.sections[0].summary["overwrite"].objects == count
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak(1_000)
        assert peak(8_000) - peak(2_000) < MIB // 2
    finally:
        tracemalloc.stop()


def test_a_destination_that_holds_no_key_beneath_a_key(bench) -> None:
    source = [listed("p/a"), listed("p/a!"), listed("p/a/b")]
    facts = ({}, {"key_file_and_folder": "rejected"})
    with pytest.raises(DeclarationError, match=r"'p/a/b'.* beneath 'p/a'"):
        bench.plan(declare(), source, facts=facts)
    made = bench.plan(declare(filters=Filters(exclude=("p/a",))), source, facts=facts)
    assert summary(made)["copy"] == 2


def test_keys_the_destination_would_rename_are_not_copied(bench) -> None:
    facts = ({}, {"key_leading_slash": "ignored", "key_double_slash": "rejected"})
    made = bench.plan(declare(), [listed("/a"), listed("b//c"), listed("d")], facts=facts)
    assert [(entry.key, entry.reason) for entry in bench.side(made, "unsupported")] == [
        ("/a", Reason.KEY_REFUSED),
        ("b//c", Reason.KEY_REFUSED),
    ]


@pytest.mark.parametrize(
    ("etag", "size", "named"),
    [("-1001", 8 * GIB, True), ("-1000", 8 * GIB, False), ("-3", 9 * MIB, True), ("-2", 9 * MIB, False)],
)
def test_part_limit_outside_the_sample(bench, etag: str, size: int, named: bool) -> None:
    """The -N of the listing is held against what the destination takes, whatever the sample showed."""
    facts = ({}, {"part_numbers": "rejected"})
    declaration = declare(preserve=Preserve(part_layout=True))
    source = [listed("a"), listed("parts", size, etag=md5("p") + etag)]
    losses = bench.plan(declaration, source, facts=facts).sections[0].losses
    assert [(loss.id, loss.objects, loss.examples, loss.accepted) for loss in losses] == (
        [("part-layout", 1, ("parts",), False)] if named else []
    )
    accepted = declare(preserve=Preserve(part_layout=True), accept_loss=("part-layout",))
    assert all(loss.accepted for loss in bench.plan(accepted, source, facts=facts).sections[0].losses)
    assert bench.plan(declare(), source, facts=facts).sections[0].losses == ()


def test_other_microseconds_of_the_probe_do_not_make_another_plan(tmp_path) -> None:
    declaration, manifests = declare(), MemoryManifests()

    def planned(calibration: Calibration, keys: int, base: Plan | None = None) -> Plan:
        ends = pair_inputs(declaration, Bucket(listed(f"{n}") for n in range(keys)), Bucket())
        pairs = {"main": dataclasses.replace(ends, calibration=calibration)}
        return build_plan(PlanInputs(declaration, pairs, manifests, tmp_path, 1 << 28, base=base))

    first = planned(Calibration(3, 5), 4)
    assert planned(Calibration(7, 9), 4, base=first) is first
    more = planned(Calibration(7, 9), 5, base=first)
    assert (more.serial, more.estimate["assumptions"]["measured"]) == (
        2,
        {"main": {"read_us": 7, "write_us": 9, "ends_on_this_machine": 0, "ends_over_tls": 0}},
    )


@pytest.mark.parametrize("there", [0, 4])
def test_another_yardstick_does_not_make_another_plan(tmp_path, there: int) -> None:
    """Whether all objects are to be moved, or are *there* already and nothing is."""
    declaration, manifests = declare(), MemoryManifests()
    objects = [listed(f"{n}") for n in range(4)]

    def planned(md5_us: int, base: Plan | None = None) -> Plan:
        ends = pair_inputs(declaration, Bucket(objects), Bucket(objects[:there]))
        pairs = {"main": dataclasses.replace(ends, calibration=Calibration(3, 5))}
        machine, borne = PlanningMachine("host-a", 2, 1 << 33, md5_us), Borne(1, WhichSide.DESTINATION, 500)
        inputs = PlanInputs(declaration, pairs, manifests, tmp_path, 1 << 28, machine=machine, borne=borne, base=base)
        return build_plan(inputs)

    first = planned(1_600)
    assert bool(first.batches) is not bool(there)
    assert planned(1_700, base=first) is first


@pytest.mark.parametrize(
    ("crc", "requests"), [("ignored", {"get": 13, "put": 1, "head": 1}), ("enforced", {"get": 13, "put": 15})]
)
def test_a_plan_counts_what_crosses_in_one_put(bench, crc: str, requests: dict[str, int]) -> None:
    facts = {"content_md5": "enforced", "multipart_crc64nvme": crc}
    made = bench.plan(declare(), [listed("big", size=200 * MIB)], facts=({}, facts))
    asked = made.estimate["requests"]
    assert {name: asked[name] for name in requests} == requests
