"""Estimates: right sums, honest assumptions, no floats; and the risks beside them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from support.planning import DESTINATION, POLICY, SOURCE, declare

from planner.batches import DraftBatch
from planner.review.calibration import Borne, Calibrated, Calibration, PlanningMachine, borne_in, measured_in, tells
from planner.review.cost import SectionWork
from planner.review.estimate import estimate
from planner.review.risks import risks_of
from planner.review.workload import ClassWork, Largest, PartCount, tier_rows, with_all_proven, work_by_tier
from schema.declaration import Policy, Preserve, Side
from schema.errors import WhichSide
from schema.facts import Capabilities
from schema.files.manifest import ManifestSummary
from schema.flow.request_classes import RequestClass
from schema.flow.samples import Activity, FlowCounts, FlowPoint, SideCounts
from schema.formats.canonical import canonical_json
from schema.limits import Limits
from schema.plan import Inventory, ListingKind, Loss, Method, Section, Tally
from schema.tiers import GIB, MIB, part_size

TIB = 1024 * GIB

BUDGET = 256 * MIB
NONE_STREAMED = Largest()
NO_LIMITS = Limits()
AWS = Side("a", region="us-east-1")
STREAMED_HUGE = ("huge", Method.STREAM)


def section(source: Side = SOURCE, destination: Side = DESTINATION, **more) -> Section:
    defaults = {
        "id": "main",
        "source": source,
        "destination": destination,
        "source_inventory": Inventory(ListingKind.OBJECTS, 1_500, 1, "sha256:0"),
        "destination_inventory": Inventory(ListingKind.OBJECTS, 0, 0, "sha256:0"),
        "source_capabilities": Capabilities(),
        "destination_capabilities": Capabilities(),
        "methods": {"stream": "two endpoints"},
        "summary": {},
        "side_manifests": {},
    }
    return Section(**{**defaults, **more})


def draft(tier: str, objects: int, size: int, method: Method = Method.STREAM) -> DraftBatch:
    return DraftBatch("main", "bulk", tier, method, ManifestSummary("d", objects, size, "a", "b"))


def in_parts(*sizes: int) -> PartCount:
    count = PartCount()
    for size in sizes:
        count.add(size, part_size(size, BUDGET))
    return count


def made(drafts, parts=None, sections=None, limits: Limits = NO_LIMITS, largest: int = 1, classes=None, policy=POLICY):
    work = [SectionWork(one, classes or {}, Largest(largest)) for one in sections or [section()]]
    return estimate(work_by_tier(drafts, [parts or {}]), work, declare(limits=limits, policy=policy), budget=BUDGET)


def test_requests() -> None:
    classes = {"STANDARD": ClassWork(1_000, 1, 1_003, 1_007), "STANDARD_IA": ClassWork(1, 1, 1, 1)}
    summary = {"delete": Tally(7, 7), "delete-marker": Tally(4, 0)}
    found = made([draft("tiny", 1_012, 1_000)], sections=[section(summary=summary)], classes=classes)
    assert found["requests"] == {"get": 1_004, "put": 1_008, "delete": 11, "list": 2 * (2 + 1)}
    assert found["ledger"]["rows"] == 1_012


@pytest.mark.parametrize(("fact", "heads"), [("ignored", 1_000), ("enforced", None)])
def test_where_writes_misstate_etags_each_object_is_looked_at(fact: str, heads: int | None) -> None:
    one = section(destination_capabilities=Capabilities({"written_etag": fact}))
    classes = {"STANDARD": ClassWork(1_000, 1, 1_003, 1_007)}
    assert made([draft("tiny", 1_000, 1_000)], sections=[one], classes=classes)["requests"].get("head") == heads


def test_what_is_proven_before_deletes_is_read_at_both_ends_and_takes_as_long_again() -> None:
    drafts = [draft("small", 100_000, 10_000)]
    kept = made(drafts, largest=10_000)["figures"]["seconds"]
    deletes = made([*drafts, draft("deletes", 1, 1)], largest=10_000)["figures"]["seconds"]
    assert abs(deletes - 2 * kept) <= 1

    classes = {"STANDARD": ClassWork(1_000, 10**9, 1_000, 1_000, windows=1_010)}
    found = made([draft("tiny", 1_000, 10**6)], classes=with_all_proven(classes))
    assert found["requests"]["get"] == 1_000 + 2 * 1_010


def test_server_copies_read_nothing_hold_nothing_and_wait_for_no_bandwidth() -> None:
    copied = draft("small", 10, 10**15, Method.SERVER_COPY)
    found = made([copied], largest=-1)
    assert found["duration"]["bound_by"] == "latency"
    assert found["memory_per_worker"]["expected"] == "150.0 MiB"
    parts = {("huge", Method.SERVER_COPY): in_parts(TIB)}
    huge = made([draft("huge", 1, TIB, Method.SERVER_COPY)], parts, largest=-1)
    assert huge["duration"]["expected"] == "1 min 3 s"  # 9,987 parts of 400 ms, 64 at once
    assert huge["memory_per_worker"]["expected"] == "150.0 MiB"


def test_beside_server_copies_only_what_is_streamed_waits_for_bandwidth() -> None:
    copied = draft("small", 10, 10**15, Method.SERVER_COPY)
    streamed = draft("small", 1, 300 * MIB * 3600)
    assert made([copied, streamed])["duration"] == made([streamed])["duration"]
    row = tier_rows(work_by_tier([copied, streamed], [{}]), BUDGET)[0]
    assert (row["method"], row["objects"]) == ("copied by the endpoint: whole; streamed: whole", 11)
    parts = [{("huge", Method.SERVER_COPY): in_parts(40 * GIB)}]
    row = tier_rows(work_by_tier([draft("huge", 2, 50 * GIB, Method.SERVER_COPY)], parts), BUDGET)[0]
    assert row["method"] == "copied by the endpoint: whole, or parts of up to 64.0 MiB"


def test_time_is_bound_by_what_is_slowest() -> None:
    assert made([draft("tiny", 64_000, 64_000)])["duration"]["bound_by"] == "latency"
    assert made([draft("tiny", 64_000, 64_000)])["duration"]["expected"] == "1 min 30 s"
    bandwidth = made([draft("small", 1, 300 * MIB * 3600)])["duration"]
    assert bandwidth == {"expected": "1 h", "low": "42 min", "high": "2 h", "bound_by": "bandwidth", "processes": 1}
    limited = made([draft("small", 1, 300 * MIB * 60)], limits=Limits(bandwidth=30 * MIB))["duration"]
    assert limited["expected"] == "10 min"
    classes = {"STANDARD": ClassWork(1_000, 1, 1_000, 1_000)}
    throttled = made([draft("tiny", 1_000, 1_000)], limits=Limits(requests_per_second=10.0), classes=classes)
    assert throttled["duration"]["bound_by"] == "requests_per_second"
    assert throttled["duration"]["expected"] == "1 min 40 s", "each endpoint has its own limit"
    one = [section(SOURCE, dataclasses.replace(DESTINATION, endpoint_url=SOURCE.endpoint_url, region=SOURCE.region))]
    throttled = made(
        [draft("tiny", 1_000, 1_000)], sections=one, limits=Limits(requests_per_second=10.0), classes=classes
    )
    assert throttled["duration"]["expected"] == "3 min 20 s", "and one endpoint one"
    assert made([])["duration"]["bound_by"] == "nothing to do"


MACHINE = PlanningMachine("host-a", 2, 8 * GIB, md5_us=1_600)


def measured(
    drafts,
    *calibration: int,
    limits: Limits = NO_LIMITS,
    machine: PlanningMachine | None = MACHINE,
    borne: Borne | None = None,
    requests: int = 0,
):
    """*calibration*: microseconds of a read and a write, and how many ends are on the machine that plans."""
    objects = sum(each.manifest.objects for each in drafts)
    one = section(summary={"transfer": Tally(objects, 0)})
    classes = {"STANDARD": ClassWork(requests, 1, requests, requests)} if requests else {}
    work = [SectionWork(one, classes, Largest(1), calibration=Calibration(*calibration))]
    return estimate(
        work_by_tier(drafts, [{}]), work, declare(limits=limits), budget=BUDGET, measured=Calibrated(machine, {}, borne)
    )


TINY = draft("tiny", 1_000_000, 1_000_000_000)


def test_it_reckons_with_the_processes_that_apply_starts() -> None:
    one, two, four = (
        measured([TINY], 1_000, 2_000, machine=MACHINE._replace(cores=cores))["duration"] for cores in (1, 2, 4)
    )
    assert [each["processes"] for each in (one, two, four)] == [1, 2, 4]
    assert [each["expected"] for each in (one, two, four)] == ["9 min 39 s", "4 min 51 s", "2 min 26 s"]
    assert measured([TINY], 1_000, 2_000, limits=Limits(workers=64))["duration"]["processes"] == 1, "as declared"
    assert measured([draft("tiny", 2_900, 9)], 1_000, 2_000)["duration"]["processes"] == 1, "too few for two"


def test_a_slower_machine_and_ends_on_it_take_longer() -> None:
    fast, slow = (measured([TINY], 1_000, 2_000, machine=MACHINE._replace(md5_us=us)) for us in (800, 1_600))
    assert slow["figures"]["seconds"] == pytest.approx(2 * fast["figures"]["seconds"], rel=0.02)
    assert slow["figures"]["processor_ms"] == pytest.approx(2 * fast["figures"]["processor_ms"], rel=0.02)
    beside = measured([TINY], 1_000, 2_000, 2)
    assert beside["figures"]["seconds"] == pytest.approx(1.16 * slow["figures"]["seconds"], rel=0.05)
    assert beside["figures"]["processor_ms"] == slow["figures"]["processor_ms"], "theirs, not apply's"


def test_each_bound_holds() -> None:
    near = measured([TINY], 1_000, 2_000)
    assert near["duration"]["bound_by"] == "processor"
    far = measured([TINY], 50_000, 100_000)
    assert (far["duration"]["bound_by"], far["figures"]["seconds"]) == ("processor", 707), "many at once hide 150 ms"
    few = measured([TINY], 50_000, 100_000, limits=Limits(concurrent_requests=16))
    assert (few["duration"]["bound_by"], few["figures"]["seconds"]) == ("latency", 9_378), "16 of all processes do not"
    large = measured([draft("small", 1_000, 60 * 300 * MIB)], 1_000, 2_000)
    assert (large["duration"]["bound_by"], large["figures"]["seconds"]) == ("bandwidth", 62)
    at_hand = measured([draft("small", 1_000, 60 * 300 * MIB)], 1_000, 2_000, 2)
    assert (at_hand["duration"]["bound_by"], at_hand["figures"]["seconds"]) == ("processor", 21), "without a network"
    limited = measured(
        [draft("tiny", 20_000, 20_000)], 1_000, 2_000, limits=Limits(requests_per_second=500.0), requests=20_000
    )
    assert (limited["duration"]["bound_by"], limited["figures"]["seconds"]) == ("requests_per_second", 42)
    assert limited["duration"]["processes"] == 2, "which share the limit"


def test_what_was_measured_is_told_and_read_again() -> None:
    found = measured([TINY], 1_000, 2_000, 1)
    assert found["assumptions"]["measured"] == {
        "main": {"read_us": 1_000, "write_us": 2_000, "ends_on_this_machine": 1, "ends_over_tls": 0}
    }
    assert found["assumptions"]["worker_processes"] == 2
    assert measured_in(found) == Calibrated(MACHINE, {"main": Calibration(1_000, 2_000, 1)})
    assert "latency_ms" not in found["assumptions"]
    assert measured_in(made([draft("tiny", 1, 1)])) == Calibrated(None, {})
    assert measured_in({"assumptions": {"measured": {"main": {"read_ms": 1, "write_ms": 2}}}}) == Calibrated(None, {})
    canonical_json(found)


def test_memory_is_the_budget_at_most() -> None:
    assert made([draft("tiny", 64, 64)], largest=MIB)["memory_per_worker"]["expected"] == "214.0 MiB"
    assert made([draft("tiny", 1, 1)], largest=MIB)["memory_per_worker"]["expected"] == "151.0 MiB"
    full = made([draft("huge", 1, TIB)], {STREAMED_HUGE: in_parts(TIB)}, largest=TIB)["memory_per_worker"]
    assert full == {"expected": "406.0 MiB", "limit": "406.0 MiB"}


def charged(source: Side, destination: Side, classes, policy=POLICY, **more):
    sections = [section(source, destination, **more)]
    found = made([draft("tiny", 1, 1)], sections=sections, classes=classes, policy=policy)
    return found.get("cost_usd")


def test_costs_only_where_both_ends_are_at_aws() -> None:
    million = {"STANDARD": ClassWork(1_000_000, 10**12, 1_000_000, 1_000_000)}
    assert charged(SOURCE, DESTINATION, million) is None
    assert charged(AWS, DESTINATION, million) is None
    assert charged(AWS, AWS, {}) is None
    near = charged(AWS, dataclasses.replace(AWS, bucket="b"), million)
    assert near == {"requests": "5.40", "retrieval": "0.00", "traffic": "0.00", "total": "5.40"}
    proven = charged(AWS, Side("b", region="eu-west-1"), with_all_proven(million))
    assert proven == {"requests": "5.40", "retrieval": "0.00", "traffic": "40.00", "total": "45.40"}
    far = charged(AWS, Side("b", region="eu-west-1"), million)
    assert far == {"requests": "5.40", "retrieval": "0.00", "traffic": "20.00", "total": "25.40"}
    by_url = Side("b", endpoint_url="https://s3.eu-west-1.amazonaws.com")
    assert charged(AWS, by_url, million) == near
    found = made([draft("tiny", 1, 1)], sections=[section(AWS, AWS)], classes=million)
    assert found["assumptions"]["prices_as_of"]


def test_storage_classes_have_their_own_prices() -> None:
    infrequent = {"STANDARD_IA": ClassWork(1_000_000, 10**12, 1_000_000, 1_000_000)}
    found = charged(AWS, AWS, infrequent)
    assert found == {"requests": "11.00", "retrieval": "10.00", "traffic": "0.00", "total": "21.00"}
    copied = charged(AWS, AWS, {"STANDARD_IA": ClassWork(1_000_000, 10**12, 0, 1_000_000)})
    assert copied == {"requests": "10.00", "retrieval": "10.00", "traffic": "0.00", "total": "20.00"}


@pytest.mark.parametrize(
    ("tier", "restores", "retrieval"),
    [("Standard", 130, "30.00"), ("Bulk", 25, "2.50"), ("Expedited", 10_100, "50.00")],
)
def test_restores_are_counted_and_priced_by_their_tier(tier: str, restores: int, retrieval: str) -> None:
    """Writing them costs 80 dollars. DEEP_ARCHIVE has no Expedited; its Standard is charged, and a risk says so."""
    cold = ClassWork(1_000_000, 10**12, 0, 1_000_000, restores=1_000_000, restored_bytes=10**12)
    classes = {"GLACIER": cold, "DEEP_ARCHIVE": cold}
    policy = dataclasses.replace(POLICY, on_archived="restore", restore_tier=tier)
    found = charged(AWS, AWS, classes, policy)
    assert (found["requests"], found["retrieval"]) == (f"{80 + restores}.00", retrieval)
    made_of = made([draft("tiny", 1, 1)], sections=[section(AWS, AWS)], classes=classes, policy=policy)
    assert made_of["requests"]["restore"] == 2_000_000
    assert f"tier {tier}" in made_of["assumptions"]["usd_of_restores"]
    assert "48 hours" in made_of["assumptions"]["restore_wait"]
    canonical_json(made_of)


def test_nothing_archived_says_nothing_of_restores() -> None:
    read_already = {"GLACIER": ClassWork(1_000, 10**9, 1_000, 1_000)}
    found = made([draft("tiny", 1, 1)], sections=[section(AWS, AWS)], classes=read_already)
    assert "restore" not in found["requests"]
    assert not {"usd_of_restores", "restore_wait"} & set(found["assumptions"])
    assert found["cost_usd"]["retrieval"] == "0.00", "a restored copy is read for nothing"


def test_objects_that_land_in_an_archive_are_a_risk() -> None:
    """Unless they are given another class, or the destination does not know that one."""

    def found(preserve: Preserve, facts: dict[str, str], policy: Policy = POLICY) -> dict[str, str]:
        cold = {"DEEP_ARCHIVE": ClassWork(3, 3, 3, 3, restores=3), "STANDARD": ClassWork(1, 1, 1, 1)}
        one = section(AWS, AWS, destination_capabilities=Capabilities({**QUIET.facts, **facts}))
        rows = risks_of([SectionWork(one, cold, Largest())], declare(policy=policy, preserve=preserve), budget=BUDGET)
        return {risk.id: risk.text for risk in rows}

    assert found(Preserve(), {})["archived-destination"].startswith("3 in DEEP_ARCHIVE cannot be read back")
    assert found(Preserve(storage_class="GLACIER"), {})["archived-destination"].startswith("4 in GLACIER")
    assert "archived-destination" not in found(Preserve(storage_class="STANDARD"), {})
    assert "archived-destination" not in found(Preserve(), {"storage_class_deep_archive": "rejected"})
    hasty = dataclasses.replace(POLICY, on_archived="restore", restore_tier="Expedited")
    assert "no Expedited" in found(Preserve(), {}, hasty)["restore-tier"]
    assert "restore-tier" not in found(Preserve(), {})


def test_an_estimate_has_a_canonical_form() -> None:
    canonical_json(made([draft("tiny", 3, 3)], limits=Limits(requests_per_second=2.5)))


def test_tier_rows() -> None:
    drafts = [draft("markers", 2, 0), draft("tiny", 5, 50), draft("tiny", 6, 60), draft("huge", 1, 40 * GIB)]
    rows = tier_rows(work_by_tier(drafts, [{STREAMED_HUGE: in_parts(40 * GIB)}]), BUDGET)
    assert [row["tier"] for row in rows] == ["tiny", "huge", "markers"]
    assert rows[0] == {
        "tier": "tiny", "range": "0 B - 256.0 KiB", "method": "whole", "batches": 2, "objects": 11, "bytes": 110
    }  # fmt: skip
    assert rows[1]["method"] == "parts of up to 64.0 MiB"


def test_huge_parts_go_through_windows() -> None:
    count = PartCount()
    count.add(40 * TIB, part_size(40 * TIB, 16 * MIB))
    rows = tier_rows(work_by_tier([draft("huge", 1, 40 * TIB)], [{STREAMED_HUGE: count}]), 16 * MIB)
    assert rows[0]["method"] == "parts of up to 4.0 GiB through windows of 8.0 MiB"


def risk_levels(made_section: Section, policy: Policy = POLICY, largest: Largest = NONE_STREAMED):
    rows = risks_of([SectionWork(made_section, {}, largest)], declare(policy=policy), budget=BUDGET)
    return {risk.id: risk.level for risk in rows}


QUIET = Capabilities({"if_none_match": "enforced", "if_match": "enforced", "versioning": "enforced"})


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {}),
        ({"summary": {"overwrite": Tally(1, 1)}}, {"overwrites": "medium"}),
        ({"summary": {"conflict": Tally(1, 1)}}, {"conflicts": "medium"}),
        ({"summary": {"unsupported": Tally(1, 1)}}, {"unsupported": "medium"}),
        ({"summary": {"delete": Tally(1, 1)}}, {"deletes": "high"}),
        ({"losses": (Loss("acl", "no ACLs", None, (), accepted=False),)}, {"loss-acl": "high"}),
        ({"losses": (Loss("acl", "no ACLs", 3, ("k",), accepted=True),)}, {"loss-acl": "low"}),
        ({"source": SOURCE}, {"http-source": "medium"}),
    ],
)
def test_risks(more, expected: dict[str, str]) -> None:
    quiet = {"source": AWS, "destination": AWS, "destination_capabilities": QUIET}
    assert risk_levels(section(**{**quiet, **more})) == expected


def test_risks_of_a_careless_destination() -> None:
    summary = {"overwrite": Tally(1, 1), "transfer": Tally(1, 1), "delete": Tally(1, 1)}
    empty = Inventory(ListingKind.OBJECTS, 0, 0, "")
    plain = Capabilities({"versioning": "rejected"})
    found = section(AWS, AWS, summary=summary, source_inventory=empty, destination_capabilities=plain)
    assert risk_levels(found, largest=Largest(17 * GIB, "big\n")) == {
        "overwrites": "high",
        "deletes": "high",
        "empty-source": "high",
        "non-atomic-writes": "medium",
        "largest-object": "low",
    }


@pytest.mark.parametrize(
    ("part_layout", "etag", "cuts"),
    [
        (False, "0" * 32 + "-6", "273 parts of 64.0 MiB"),
        (True, "0" * 32 + "-6", "6 parts, cut as at the source"),
        (True, "0" * 32 + "-1", "1 part, cut as at the source"),
        (True, "0" * 32, "273 parts of 64.0 MiB"),
    ],
)
def test_the_largest_object_is_cut_as_the_plan_promises(part_layout: bool, etag: str, cuts: str) -> None:
    work = SectionWork(section(AWS, AWS), {}, Largest(17 * GIB + 1, "big", etag))
    rows = risks_of([work], declare(preserve=Preserve(part_layout=part_layout)), budget=10 * GIB)
    (text,) = (row.text for row in rows if row.id == "largest-object")
    assert text == f"'big' is 17.0 GiB: {cuts} (limit 10,000)"


def test_the_largest_object_may_cross_in_one_put() -> None:
    ends = section(destination_capabilities=Capabilities({"content_md5": "enforced"}))
    rows = risks_of([SectionWork(ends, {}, Largest(200 * MIB, "big", "0" * 32))], declare(), budget=BUDGET)
    assert [row.text for row in rows if row.id == "largest-object"] == ["'big' is 200.0 MiB: one PUT"]


def test_the_windows_of_what_crosses_in_one_put_follow_one_another() -> None:
    drafts, count = [draft("medium", 100_000, 10)], PartCount()
    held = made(drafts)["figures"]["seconds"]
    for _ in range(100_000):
        count.add_single(3)
    found = made(drafts, {("medium", Method.STREAM): count})["figures"]["seconds"]
    assert abs(found - 4 * held) <= 4  # three reads before the one PUT is answered
    assert tier_rows(work_by_tier(drafts, [{("medium", Method.STREAM): count}]), BUDGET)[0]["method"] == "whole"


def test_one_is_no_plural() -> None:
    summary = {name: Tally(1, 1) for name in ("overwrite", "delete", "conflict", "unsupported")}
    found = section(AWS, AWS, summary=summary, destination_capabilities=QUIET, losses=(Loss("acl", "no", 1, (), True),))
    texts = [row.text for row in risks_of([SectionWork(found, {}, Largest())], declare(), budget=BUDGET)]
    nouns = ("destination object to", "extraneous destination object to", "key left", "object not", "object);")
    assert [noun for noun in nouns if not any(f"1 {noun}" in text for text in texts)] == []


def test_risks_are_sorted_worst_first_and_name_their_section() -> None:
    one = section(summary={"conflict": Tally(2, 2), "delete": Tally(1_234, 1)})
    other = dataclasses.replace(one, id="other", summary={**one.summary, "delete": Tally(7, 1)})
    work = [SectionWork(each, {}, Largest()) for each in (one, other)]
    rows = risks_of(work, declare(), budget=BUDGET)
    levels = [("high", "medium", "low").index(row.level) for row in rows]
    assert levels == sorted(levels)
    assert rows[0].text.startswith("main: 1,234 ")
    assert rows[1].text.startswith("other: ")


def step(accepted: int, throttled: int, held: float, seconds: float = 10.0) -> FlowPoint:
    """One process; *held*: the share of its threads' time that throttling took."""
    destination = SideCounts({RequestClass.PUT: accepted + throttled}, throttled=throttled)
    threads = {Activity.THROTTLING: 160 * held, Activity.WORKING: 160 * (1 - held)}
    source = SideCounts({RequestClass.GET: 2 * accepted})
    sides = {WhichSide.SOURCE: source, WhichSide.DESTINATION: destination}
    counts = FlowCounts(seconds=seconds, threads=threads, sides=sides)
    return FlowPoint(datetime(2026, 11, 30, tzinfo=UTC), 10.0, counts)


@pytest.mark.parametrize(
    ("history", "borne"),
    [
        ([step(9_000, 0, 0.0), step(5_000, 300, 0.7), step(4_900, 0, 0.6), step(1_000, 10, 0.5, 2.0)], 495),
        ([step(9_000, 0, 0.0), step(5_000, 300, 0.7), *[step(5_000, 9, 0.6)] * 2, *[step(200, 0, 0.0)] * 90], 500),
        ([step(9_000, 0, 0.0), step(9_000, 40, 0.01)], None),  # by chance
        ([step(9_000, 0, 0.5)], None),  # held back by something else
        ([step(2_000, 30, 0.8, 4.0)], 500),  # by a canary that took four seconds
        ([], None),
    ],
)
def test_what_an_endpoint_bears_is_learned_from_a_run_that_it_held_back(
    history: list[FlowPoint], borne: int | None
) -> None:
    assert borne_in(3, history) == (None if borne is None else Borne(3, WhichSide.DESTINATION, borne))


def test_what_was_learned_bounds_the_next_estimate() -> None:
    drafts = [draft("tiny", 20_000, 20_000)]
    found = measured(drafts, 1_000, 2_000, borne=Borne(3, WhichSide.DESTINATION, 500), requests=20_000)
    assert found["duration"]["bound_by"] == "throttling"
    assert found["figures"]["seconds"] == measured(
        drafts, 1_000, 2_000, limits=Limits(requests_per_second=500.0), requests=20_000
    )["figures"]["seconds"]  # fmt: skip
    assert measured_in(found).borne == Borne(3, WhichSide.DESTINATION, 500)
    free = measured(drafts, 1_000, 2_000, requests=20_000)
    assert free["duration"]["bound_by"] == "processor", "the control"
    assert "borne" not in free["assumptions"]


def test_ends_that_speak_tls_take_more_of_the_processor() -> None:
    plain, encrypted = (measured([TINY], 1_000, 2_000, 0, ends)["figures"]["processor_ms"] for ends in (0, 2))
    assert 1.25 * plain < encrypted < 1.4 * plain


@pytest.mark.parametrize(("latency_us", "ends", "requests"), [(0, 0, 6), (0, 2, 8), (100_000, 0, 15), (400_000, 1, 16)])
def test_the_plan_says_what_it_reckons_a_unit_to_cost(latency_us: int, ends: int, requests: int) -> None:
    assumed = measured([TINY], latency_us, 0, 0, ends)["assumptions"]
    assert assumed["processor_us"]["object_or_part"] == requests * MACHINE.request_us


def test_a_run_tells_what_its_endpoints_bear_once_it_has_asked_enough() -> None:
    assert tells([step(300, 10, 0.5)]), "it was refused"
    assert tells([step(400, 0, 0.0)]), "1,200 requests"
    assert not tells([step(3, 0, 0.0)])
    assert not tells([])
