"""A small sound plan, and documents made of it with one thing wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from schema.calendar import Hours
from schema.declaration import Filters, Guards, Policy, Preserve, Side
from schema.facts import Capabilities
from schema.files.plan_checks import check_content, check_shape
from schema.files.plan_document import MAX_INLINE_BATCHES, with_plan_id
from schema.formats.yaml_strict import Lines
from schema.limits import CalendarRow, Limits
from schema.plan import Batch, Gate, Inventory, Level, ListingKind, Loss, Method, Plan, Risk, Section, Stage, Tally


def digest(digit: str) -> str:
    """A well-formed digest of nothing."""
    return "sha256:" + digit * 64


def sample_plan(**changes: Any) -> Plan:
    """Two sections, three stages, four batches; *changes* replace fields before the plan_id is computed."""
    plan = Plan(
        plan_id="",
        name="photos",
        lineage="6f1d9c1e-5b1a-4a57-9f2e-0d6c1b7a44e2",
        serial=3,
        declaration_sha256=digest("d"),
        filters=Filters(exclude=("tmp/**",), min_size=1, modified_before_ms=1_700_000_000_123),
        policy=Policy(),
        preserve=Preserve(
            encryption={"mode": "sse-kms", "key": "alias/new"}, storage_class_map={"GLACIER": "STANDARD"}
        ),
        limits=Limits(
            memory=1 << 30,
            requests_per_second=12.5,
            concurrent_requests=8,
            calendar=(
                CalendarRow(Hours.parse("mon-fri 08:00-18:00 UTC"), 5_000_000),
                CalendarRow(Hours.parse("sat 00:00-24:00 UTC"), requests_per_second=2.5, concurrent_requests=7),
                CalendarRow(Hours.parse("sun 08:00-12:00 UTC"), closed=True),
            ),
        ),
        guards=Guards(max_objects=100, max_bytes=10_000, max_overwrites=2),
        memory_budget=1 << 30,
        sections=(_section("photos", "first"), _section("logs", "second")),
        tiers=(
            {"tier": "tiny", "range": "0 - 256 KiB", "method": "get+put", "batches": 4, "objects": 12, "bytes": 1200},
        ),
        risks=(Risk("overwrites", Level.HIGH, "2 objects are replaced: `no` undo | none"),),
        estimate={"duration": "4 s", "requests": {"get": 12, "put": 12}, "assumptions": {"workers": 4, "rate": "1.5"}},
        stages=(
            Stage("canary", (), Gate.VERIFIED, "a sample"),
            Stage("bulk", ("canary",), Gate.COPIED),
            Stage("markers", ("bulk",), Gate.COPIED),
        ),
        batches=tuple(
            Batch(
                f"tiny-{section[0]}{number}",
                section,
                "tiny",
                stage,
                Method.STREAM,
                3,
                300,
                (f"{number}a", f"{number}z"),
                digest("b"),
            )
            for section in ("photos", "logs")
            for number, stage in enumerate(("canary", "bulk"))
        ),
        manifest_store="manifests",
        provenance={"generated_by": "s3migrate 0.1.0", "generated_at": "2026-11-20T09:14:31Z"},
    )
    return with_plan_id(dataclasses.replace(plan, **changes))


def large_plan(count: int = MAX_INLINE_BATCHES + 1) -> Plan:
    """More batches than a document shows."""
    section = dataclasses.replace(sample_plan().sections[0], side_manifests={})
    tally = Tally(count, 10 * count)
    section = dataclasses.replace(
        section,
        source_inventory=dataclasses.replace(section.source_inventory, objects=tally.objects, bytes=tally.bytes),
        summary={"listed": tally, "copy": tally, "transfer": tally},
    )
    batches = tuple(
        Batch(f"tiny-{n:06}", "photos", "tiny", "bulk", Method.STREAM, 1, 10, (f"{n:06}", f"{n:06}"), digest("f"))
        for n in range(count)
    )
    stages = (Stage("bulk", (), Gate.COPIED),)
    return sample_plan(sections=(section,), batches=batches, stages=stages)


def _section(name: str, bucket: str) -> Section:
    source = Side(bucket, endpoint_url="https://s3.old.example", credentials={"env": "OLD"})
    destination = Side(bucket, prefix="new/", endpoint_url="http://10.0.0.7:9000", ca_bundle="ca.pem")
    return Section(
        id=name,
        source=source,
        destination=destination,
        source_inventory=Inventory(ListingKind.OBJECTS, 9, 750, digest("a")),
        destination_inventory=Inventory(ListingKind.OBJECTS, 4, 250, digest("c")),
        source_capabilities=Capabilities({"etag_is_md5": "enforced"}),
        destination_capabilities=Capabilities({"if_none_match": "enforced", "if_match": "ignored"}),
        methods={"stream": "the endpoints differ"},
        summary={
            "listed": Tally(9, 750),
            "copy": Tally(5, 500),
            "overwrite": Tally(1, 100),
            "skip": Tally(2, 150),
            "excluded": Tally(1, 0),
            "extraneous": Tally(1, 20),
            "transfer": Tally(6, 600),
        },
        side_manifests={"skip": digest("1"), "excluded": digest("2"), "extraneous": digest("3")},
        losses=(Loss("acl", "the destination has no ACLs", None, ("a b", "é\x1b"), accepted=True),),
        mapping_examples=(("a.jpg", "new/a.jpg"),),
    )


def check_plan(document: Mapping[str, Any], plan: Plan, lines: Lines | None = None) -> None:
    """All that loading a plan proves of *document*, of which *plan* was made. Raises PlanCorrupt."""
    lines = lines or Lines("plan")
    check_shape(document, lines)
    check_content(document, plan, lines)
