"""migration.yaml: the whole shape, every complaint at its line, and no secret anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.declarations import FULL, MINIMAL

from schema.calendar import Hours
from schema.declaration import (
    Addressing,
    Comparison,
    Declaration,
    Filters,
    Guards,
    MappingRule,
    OnDifferent,
    Policy,
    Preserve,
    Side,
)
from schema.errors import DeclarationError, InputMissing
from schema.files.declaration_file import load_declaration, parse_declaration
from schema.formats.validation import schema_text
from schema.limits import CalendarRow, Limits
from schema.timeouts import Timeouts

CALENDAR = (
    CalendarRow(Hours.parse("mon-fri 08:00-18:00 Europe/Berlin"), bandwidth=52_428_800),
    CalendarRow(Hours.parse("sat,sun 00:00-24:00 UTC"), bandwidth=1_000_000),
    CalendarRow(Hours.parse("tue 22:00-06:00 UTC"), 2_097_152, 2.5, 3),
    CalendarRow(Hours.parse("wed 00:00-24:00 UTC"), requests_per_second=7.0),
    CalendarRow(Hours.parse("thu 09:00-10:00 UTC"), closed=True),
)


def parse(text: str) -> Declaration:
    """The declaration in *text*."""
    return parse_declaration(text.encode("utf-8"), "m.yaml")


def complaint(text: str) -> str:
    """What is said about *text*."""
    with pytest.raises(DeclarationError) as error:
        parse(text)
    return str(error.value)


def with_line(line: str) -> str:
    """MINIMAL and one more line, the sixth."""
    return f"{MINIMAL}{line}\n"


def test_a_minimal_declaration_has_the_defaults() -> None:
    declaration = parse(MINIMAL)

    assert declaration.pairs[0].id == "photos"
    assert declaration.pairs[0].source == Side("old")
    assert (declaration.filters, declaration.policy, declaration.preserve) == (Filters(), Policy(), Preserve())
    assert (declaration.limits, declaration.guards, declaration.manifests) == (Limits(), Guards(), "manifests")
    assert declaration.sha256.startswith("sha256:")


def test_every_key_arrives() -> None:
    declaration = parse(FULL)

    assert declaration.pairs[0].source == Side(
        bucket="old",
        prefix="a/",
        endpoint_url="http://10.0.0.1:9000",
        endpoint_candidates=("http://10.0.0.1:9000", "https://[::1]:9000/base"),
        region="eu-west-1",
        addressing=Addressing.PATH,
        credentials={"role_arn": "arn:aws:iam::123456789012:role/r", "external_id": "x", "source": {"profile": "p"}},
        ca_bundle="ca.pem",
        requester_pays=True,
        sse_customer_key_env="OLD_KEY",
    )
    assert declaration.filters == Filters(
        ("a/**",), ("no", "1"), 1, 3_758_096_384, 1_767_225_600_000, 1_767_225_600_500, ("STANDARD",)
    )
    assert declaration.mapping == (MappingRule("(.)x", "\\1y"),)
    assert declaration.policy == Policy(
        compare=(Comparison.CHECKSUM,),
        on_different=OnDifferent.SKIP,
        on_destination_newer=OnDifferent.OVERWRITE,
        if_source_changes="fail",
        delete_extraneous="after-verify",
        on_archived="restore",
        restore_days=3,
        restore_tier="Bulk",
        transfer="stream",
        markers=("last",),
    )
    assert declaration.preserve == Preserve(
        system_headers=False,
        user_metadata=False,
        tags=False,
        website_redirect=False,
        storage_class="map",
        storage_class_map={"GLACIER": "STANDARD"},
        encryption={"mode": "sse-kms", "key_map": {"a": "b"}},
        acl=True,
        acl_grantees={"c": "d"},
        object_lock="compliance",
        legal_hold=True,
        part_layout=True,
        checksums=False,
        last_modified="mtime",
    )
    assert declaration.limits == Limits(
        memory=67_108_864,
        workers=7,
        requests_per_second=10.5,
        bandwidth=209_715_200,
        calendar=CALENDAR,
        concurrent_requests=9,
    )
    assert declaration.timeouts == Timeouts(5, 600, 90, 120, 45, 3600, 1200, 7)
    assert declaration.guards == Guards(1, 2 * 2**40, 3, 4)
    assert (declaration.accept_loss, declaration.manifests) == (("acl",), "s3://bucket/some/prefix")


def test_an_empty_value_is_as_an_absent_key() -> None:
    text = (
        MINIMAL
        + "filters:\npolicy:\nlimits: {memory: , requests_per_second: , workers: auto}\nguards: {max_objects: }\n"
    )
    assert parse(text).limits == Limits()


def test_pairs_get_ids_of_their_buckets() -> None:
    head = "apiVersion: s3migrate/v1\nkind: Migration\nname: many\nbuckets:\n"
    pairs = parse(
        head
        + "  - {source: {bucket: My.Bucket, prefix: a/}, destination: {bucket: new, prefix: a/}}\n"
        + "  - {source: {bucket: My.Bucket, prefix: b/}, destination: {bucket: new, prefix: b/}}\n"
        + "  - {id: my-bucket, source: {bucket: c}, destination: {bucket: new, prefix: c/}}\n"
    ).pairs
    assert [pair.id for pair in pairs] == ["my-bucket-2", "my-bucket-3", "my-bucket"]


def test_every_complaint_is_listed_in_line_order() -> None:
    text = (
        "apiVersion: s3migrate/v1\nkind: Migration\nname: Photos\ngaurds: {}\nsource:\n  bucket: old\n  prefx: x\n"
        "policy: {on_different: overwite, compare: etag}\nlimits:\n  workers: many\n  bandwidth: fast\n"
    )
    assert complaint(text).splitlines() == [
        "m.yaml:1: the document: destination is missing",
        "m.yaml:3: name: must be 1 to 63 lower-case letters, digits and '-'",
        "m.yaml:4: gaurds: unknown key; did you mean guards?",
        "m.yaml:7: source.prefx: unknown key; did you mean prefix?",
        "m.yaml:8: policy.compare: must be a list",
        "m.yaml:8: policy.on_different: must be one of overwrite, skip, conflict; did you mean overwrite?",
        "m.yaml:10: limits.workers: must be auto or a number",
        "m.yaml:11: limits.bandwidth: must be bytes a second: 200MiB/s, 10 MB/s",
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("kind: Migration", "m.yaml:6: the key 'kind' is there twice"),
        (
            "buckets: [{source: {bucket: x}, destination: {bucket: y}}]",
            "give either source and destination, or buckets",
        ),
        ("filters: {min_size: 2, max_size: 1}", "m.yaml:6: filters.max_size: is smaller than min_size"),
        ("filters: {include: []}", "filters.include: must have at least 1 item"),
        (
            "filters: {modified_after: yesterday}",
            "filters.modified_after: must be a date (UTC) or a time with its zone",
        ),
        ("filters: {modified_after: 2026-01-01T00:00:00}", "filters.modified_after: must be a date"),
        ("filters: {modified_after: 2026-13-01}", "filters.modified_after: no such date"),
        ("filters: {modified_after: 2026-01-02, modified_before: 2026-01-02}", "is not later than modified_after"),
        ("mapping: [{pattern: '(', replace: x}]", "mapping[0].pattern: not a regular expression"),
        ("mapping: [{pattern: x, replace: '\\1'}]", "mapping[0].replace: does not fit the pattern"),
        ("mapping: [{pattern: x, replace: '\\g<q>'}]", "mapping[0].replace: does not fit the pattern"),
        ("limits: {requests_per_second: '0.0'}", "limits.requests_per_second: must be more than 0"),
        ("limits: {bandwidth: 0MiB/s}", "limits.bandwidth: a rate of 0 would never end"),
        ("limits: {memory: 1 parsec}", "limits.memory: must be a size"),
        ("limits: {calendar: ['mon 08:00-08:00 UTC: 1MiB']}", "limits.calendar[0]: the hours are empty"),
        ("limits: {calendar: ['mon 08:00-09:00 Mars/Base: 1MiB']}", "is not a time zone"),
        ("limits: {calendar: ['mon 08:00-09:00 ../x: 1MiB']}", "is not a time zone"),
        ("limits: {calendar: ['mon 08:00-24:30 UTC: 1MiB']}", "limits.calendar[0]: 24:30 is not a time of day"),
        ("limits: {calendar: [weekdays]}", "limits.calendar[0]: a row is"),
        ("limits: {calendar: [mon 08:00-09:00 UTC: ]}", "m.yaml:6: limits.calendar[0]: the row names no limit"),
        ("limits: {calendar: [mon 08:00-09:00 UTC: {}]}", "limits.calendar[0]: the row names no limit"),
        (
            "limits: {calendar: [mon 08:00-09:00 UTC: {bandwidth: }]}",
            "m.yaml:6: limits.calendar[0]: the row names no limit",
        ),
        (
            "limits:\n  calendar:\n    - mon 08:00-09:00 UTC: 1MiB\n    - mon 08:00-09:00 UTC: {bandwith: 1MiB}",
            "m.yaml:9: limits.calendar[1].'mon 08:00-09:00 UTC'.bandwith: unknown key; did you mean bandwidth?",
        ),
        (
            "limits: {calendar: [mon 08:00-09:00 UTC: {workers: 3}]}",
            "m.yaml:6: limits.calendar[0].'mon 08:00-09:00 UTC'.workers: unknown key",
        ),
        (
            "limits: {calendar: [mon 08:00-09:00 UTC: {bandwidth: fast}]}",
            "limits.calendar[0].'mon 08:00-09:00 UTC'.bandwidth: must be bytes a second",
        ),
        (
            "limits: {calendar: [mon 08:00-09:00 UTC: {requests_per_second: many}]}",
            "limits.calendar[0].'mon 08:00-09:00 UTC'.requests_per_second: must be a number of requests a second",
        ),
        (
            "limits: {calendar: [mon 08:00-09:00 UTC: {requests_per_second: '0'}]}",
            "limits.calendar[0]: requests_per_second: must be more than 0",
        ),
        (
            "limits: {calendar: [mon 08:00-09:00 UTC: {concurrent_requests: 0}]}",
            "limits.calendar[0].'mon 08:00-09:00 UTC'.concurrent_requests: must be at least 1",
        ),
        (
            "limits: {calendar: [mon 08:00-09:00 UTC: [1MiB]]}",
            "limits.calendar[0].'mon 08:00-09:00 UTC': must be bytes a second (200MiB/s, 10 MB/s), closed, or a map",
        ),
        ("limits: {calendar: [mon 08:00-09:00 UTC: {bandwidth: 0B}]}", "limits.calendar[0]: bandwidth: a rate of 0"),
        (
            "limits: {calendar: ['mon-fri 00:00-24:00 UTC: closed', 'sat,sun 00:00-24:00 UTC: closed']}",
            "m.yaml:6: limits.calendar: is closed at every hour of the week",
        ),
        ("limits: {calendar: ['noon 08:00-09:00 UTC: 1MiB']}", "limits.calendar[0]: 'noon' is not a day"),
        ("preserve: {storage_class: map}", "preserve.storage_class: map needs storage_class_map"),
        ("preserve: {storage_class_map: {A: B}}", "preserve.storage_class_map: has no effect"),
        ("preserve: {storage_class: cheap}", "preserve.storage_class: must be keep, map, or a storage class"),
        ("preserve: {acl_grantees: {a: b}}", "preserve.acl_grantees: has no effect"),
        ("preserve: {encryption: {mode: sse-kms}}", "preserve.encryption: sse-kms needs key"),
        ("preserve: {encryption: {key: k}}", "preserve.encryption: key and key_map have an effect only"),
        (
            "policy: {versions: all, delete_extraneous: after-verify}",
            "policy.delete_extraneous: works on current versions",
        ),
        ("policy: {restore_days: 0}", "policy.restore_days: must be at least 1"),
        ("guards: {max_deletes: -1}", "guards.max_deletes: must be at least 0"),
        ("manifests: ../x", "manifests: must be a folder beside the plan"),
        ("manifests: /tmp/x", "manifests: must be a folder beside the plan"),
        ("manifests: s3://", "manifests: must be s3://bucket/prefix"),
        ("accept_loss: [acl, acl]", "accept_loss: must not name anything twice"),
        ("accept_loss: [acl, tag]", "accept_loss[1]: there is no loss 'tag'; there are acl, annotations,"),
        ("version: 2", "version: unknown key"),
    ],
)
def test_a_contradiction_is_named(line: str, what: str) -> None:
    assert what in complaint(with_line(line))


@pytest.mark.parametrize(
    ("source", "destination", "refused"),
    [
        ("bucket: b", "bucket: b", True),
        ("bucket: b, prefix: a", "bucket: b, prefix: ab", True),
        ("bucket: b, prefix: a/", "bucket: b", True),
        ("bucket: b, prefix: a/", "bucket: b, prefix: a/b/", True),
        ("bucket: b, endpoint_url: 'http://SRC:9000/'", "bucket: b, endpoint_url: 'http://src:9000'", True),
        ("bucket: b, prefix: a/", "bucket: b, prefix: b/", False),
        ("bucket: b", "bucket: c", False),
        ("bucket: b", "bucket: b, endpoint_url: 'https://s3.eu-west-1.amazonaws.com'", True),
        ("bucket: b", "bucket: b, endpoint_url: 'https://notamazonaws.com'", False),
        ("bucket: b, endpoint_url: 'http://H:80'", "bucket: b, endpoint_url: 'http://h/'", True),
        ("bucket: b, endpoint_url: 'http://h:9000'", "bucket: b, endpoint_url: 'http://h:9001'", False),
        ("bucket: b, endpoint_url: ['http://a', 'http://b']", "bucket: b, endpoint_url: 'http://b'", True),
    ],
)
def test_ends_that_overlap_are_refused(source: str, destination: str, refused: bool) -> None:
    text = f"apiVersion: s3migrate/v1\nkind: Migration\nname: n\nsource: {{{source}}}\ndestination: {{{destination}}}\n"
    if refused:
        assert "source and destination overlap" in complaint(text)
    else:
        parse(text)


def test_pairs_that_meet_are_refused() -> None:
    said = complaint(
        "apiVersion: s3migrate/v1\nkind: Migration\nname: n\nbuckets:\n"
        "  - {id: p, source: {bucket: a}, destination: {bucket: x, prefix: p/}}\n"
        "  - {id: p, source: {bucket: x}, destination: {bucket: x2}}\n"
        "  - {id: r, source: {bucket: c}, destination: {bucket: x, prefix: p/q/}}\n"
    )
    assert "m.yaml:6: buckets[1].id: two pairs are called p" in said
    assert "m.yaml:6: buckets[1].source: overlaps the destination of p" in said
    assert "m.yaml:7: buckets[2].destination: overlaps the destination of p" in said


@pytest.mark.parametrize(
    ("credentials", "what"),
    [
        ("{profile: a, env: B}", "profile and env exclude each other"),
        ("{external_id: x}", "external_id needs role_arn"),
        ("{role_arn: 'arn:aws:iam::1:role/x'}", "role_arn needs source"),
        ("{role_arn: 'arn:aws:iam::1:role/x', source: {anonymous: true}}", "an anonymous source cannot assume a role"),
        ("{role_arn: x, source: {}}", "credentials.role_arn: must be the ARN of a role"),
        ("{anonymous: false}", "credentials.anonymous: must be True"),
        ("{env: 'A B'}", "credentials.env: must be the prefix of environment variables"),
        ("{secret_key: x}", "credentials.secret_key: unknown key"),
    ],
)
def test_credentials_that_make_no_sense(credentials: str, what: str) -> None:
    assert what in complaint(MINIMAL.replace("{bucket: old}", f"{{bucket: old, credentials: {credentials}}}"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h",
        "h:9000",
        "https://h?x=1",
        "https://h#x",
        "https://",
        "https://h:123456",
        "https://h:99999",
        "http://h:0",
    ],
)
def test_an_endpoint_that_is_none(url: str) -> None:
    text = MINIMAL.replace("{bucket: old}", f"{{bucket: old, endpoint_url: '{url}'}}")
    assert "m.yaml:4: source.endpoint_url" in complaint(text)


@pytest.mark.parametrize("bucket", ["..", "a/b", "", "a b", "-a", "a\\n", "é"])
def test_a_bucket_that_is_none(bucket: str) -> None:
    assert "source.bucket: must be" in complaint(MINIMAL.replace("{bucket: old}", f'{{bucket: "{bucket}"}}'))


def test_files_are_read_and_missing_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "migration.yaml"
    with pytest.raises(InputMissing, match=r"migration.yaml: No such file"):
        load_declaration(path)
    path.write_text(MINIMAL, encoding="utf-8")
    assert load_declaration(path).name == "photos"
    path.write_text("name: [", encoding="utf-8")
    with pytest.raises(DeclarationError, match=str(path)):
        load_declaration(path)


@pytest.mark.parametrize("text", ["", "[]", "a", "- a", "null"])
def test_what_is_no_map_is_no_declaration(text: str) -> None:
    assert "the document is not a map" in complaint(text)


def test_every_map_of_the_schema_is_closed() -> None:
    """A map that lets any key in would swallow typing errors."""
    open_maps: list[str] = []

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if (
                "properties" in node
                and isinstance(node["properties"], dict)
                and node.get("additionalProperties") is not False
            ):
                open_maps.append(path)
            for key, item in node.items():
                walk(item, f"{path}/{key}")
        elif isinstance(node, list):
            for index, item in enumerate(node):
                walk(item, f"{path}/{index}")

    walk(json.loads(schema_text("migration-v1.schema.json")), "")
    assert open_maps == []
