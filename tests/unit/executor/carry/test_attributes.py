"""What a write carries for a head, and what is named when it did not arrive."""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.attributes import Carried, carried, differing

from executor.carry.acl import acl_grants, missing_grants
from executor.carry.attributes import headers_for
from schema.attributes.attribute import Difference, Outgoing
from schema.attributes.every import kept
from schema.declaration import Preserve
from schema.errors import ObjectRefused, ResponseUnreadable
from schema.facts import Capabilities
from schema.formats.metadata_text import decode_text
from schema.objects import ObjectHead

UNKNOWN = Capabilities()
KEY_A, KEY_B = "arn:aws:kms:eu-west-1:1:key/a", "arn:aws:kms:us-east-1:2:key/b"
LOCKED = {
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": "2030-01-01T00:00:00.000Z",
    "x-amz-object-lock-legal-hold": "ON",
}
IN_2026 = 1_800_000_000_000
IN_2031 = 1_925_000_000_000
SYSTEM = {
    "content-type": "text/plain",
    "cache-control": "max-age=1",
    "content-disposition": 'attachment; filename="\xc3\xa9"',
    "content-encoding": "gzip",
    "content-language": "de",
    "expires": "not a date",
}


def head(headers: Mapping[str, str], size: int = 1, etag: str = "e") -> ObjectHead:
    return ObjectHead(headers, size, etag)


def sent(headers: Mapping[str, str], preserve: Preserve | None = None, **options: object) -> dict[str, str]:
    facts = options.pop("facts", UNKNOWN)
    result = carried(head(headers), preserve or Preserve(), facts, **options)  # type: ignore[arg-type]
    assert len(dict(result.headers)) == len(result.headers)
    return dict(result.headers)


def test_system_headers_and_metadata_pass_and_transport_headers_do_not() -> None:
    wire = {**SYSTEM, "x-amz-meta-a": "1", "date": "x", "server": "y", "content-length": "5", "etag": '"e"',
            "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT", "x-amz-request-id": "z", "x-amz-version-id": "v",
            "x-amz-tagging-count": "2", "x-amz-server-side-encryption": "AES256"}  # fmt: skip
    assert sent(wire) == {**SYSTEM, "x-amz-meta-a": "1"}


@pytest.mark.parametrize(
    ("stored", "carried"),
    [("aws-chunked", None), ("gzip,aws-chunked", "gzip"), ("aws-chunked, GZIP", "GZIP"), ("br", "br")],
)
def test_aws_chunked_is_no_encoding_of_the_object(stored: str, carried: str | None) -> None:
    assert sent({"content-encoding": stored}).get("content-encoding") == carried


def test_switched_off_kinds_stay_behind() -> None:
    nothing = Preserve(system_headers=False, user_metadata=False, tags=False, website_redirect=False)
    wire = {**SYSTEM, "x-amz-meta-a": "1", "x-amz-website-redirect-location": "/x"}
    result = carried(head(wire), nothing, UNKNOWN, [("a", "b")])
    assert result == Carried([], None, ())


@pytest.mark.parametrize(
    ("raw", "utf8", "expected"),
    [
        ("=?UTF-8?B?w6k=?=", "ignored", "=?UTF-8?B?w6k=?="),
        ("\xc3\xa9", "enforced", "\xc3\xa9"),
        ("\xc3\xa9", "ignored", "=?UTF-8?B?w6k=?="),
        ("\xe9", "enforced", "\xc3\xa9"),
        ("\xe9", "unknown", "=?UTF-8?B?w6k=?="),
    ],
)
def test_metadata_text_by_what_the_destination_keeps(raw: str, utf8: str, expected: str) -> None:
    facts = Capabilities({"user_metadata_utf8": utf8})
    assert sent({"x-amz-meta-t": raw}, facts=facts) == {"x-amz-meta-t": expected}


@pytest.mark.parametrize("name", ["x-amz-meta-a", "content-type", "x-amz-website-redirect-location"])
@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\nb", "a\0b"])
def test_no_value_can_smuggle_a_header(name: str, value: str) -> None:
    with pytest.raises(ObjectRefused, match="control characters") as caught:
        sent({name: value}, key="k")
    assert caught.value.key == "k"


@pytest.mark.parametrize("name", ["x-amz-meta-a b", "x-amz-meta-a:b", "x-amz-meta-\xe9", "x-amz-meta-a\r"])
def test_names_that_are_no_header_names_are_refused(name: str) -> None:
    with pytest.raises(ObjectRefused):
        sent({name: "v"})


def test_missing_meta_is_named() -> None:
    assert carried(head({"x-amz-missing-meta": "2"}), Preserve(), UNKNOWN).dropped


@pytest.mark.parametrize(
    ("preserve", "source", "expected"),
    [
        (Preserve(), "STANDARD_IA", "STANDARD_IA"),
        (Preserve(), None, None),
        (Preserve(storage_class="STANDARD"), "GLACIER", None),
        (Preserve(storage_class="GLACIER_IR"), None, "GLACIER_IR"),
        (Preserve(storage_class="map", storage_class_map={"STANDARD": "STANDARD_IA"}), None, "STANDARD_IA"),
        (Preserve(storage_class="map", storage_class_map={"GLACIER": "STANDARD"}), "GLACIER", None),
        (Preserve(storage_class="map"), "ONEZONE_IA", "ONEZONE_IA"),
    ],
)
def test_storage_class(preserve: Preserve, source: str | None, expected: str | None) -> None:
    wire = {"x-amz-storage-class": source} if source else {}
    assert sent(wire, preserve).get("x-amz-storage-class") == expected
    arrived = head({"x-amz-storage-class": expected} if expected else {})
    assert differing(head(wire), arrived, None, None, preserve) == []


def test_a_refused_storage_class_is_left_out_and_named() -> None:
    facts = Capabilities({"storage_class_standard_ia": "rejected"})
    result = carried(head({"x-amz-storage-class": "STANDARD_IA"}), Preserve(), facts)
    assert result == Carried([], None, (("storage-class", "storage class STANDARD_IA"),))


@pytest.mark.parametrize(
    ("encryption", "source", "expected"),
    [
        ({}, {"": "aws:kms", "-aws-kms-key-id": KEY_A}, {}),
        ({"mode": "keep"}, {}, {}),
        ({"mode": "keep"}, {"": "AES256"}, {"": "AES256"}),
        ({"mode": "sse-s3"}, {"": "aws:kms", "-aws-kms-key-id": KEY_A}, {"": "AES256"}),
        ({"mode": "sse-kms"}, {}, {"": "aws:kms"}),
        ({"mode": "sse-kms", "key": KEY_B}, {}, {"": "aws:kms", "-aws-kms-key-id": KEY_B}),
        (
            {"mode": "keep", "key_map": {KEY_A: KEY_B}},
            {"": "aws:kms", "-aws-kms-key-id": KEY_A, "-bucket-key-enabled": "true"},
            {"": "aws:kms", "-aws-kms-key-id": KEY_B, "-bucket-key-enabled": "true"},
        ),
        ({"mode": "keep", "key_map": {KEY_A: "same"}}, {"": "aws:kms:dsse", "-aws-kms-key-id": KEY_A},
         {"": "aws:kms:dsse", "-aws-kms-key-id": KEY_A}),
        ({"mode": "keep", "key": "default"}, {"": "aws:kms", "-aws-kms-key-id": KEY_A}, {"": "aws:kms"}),
    ],
)  # fmt: skip
def test_encryption(encryption: dict[str, object], source: dict[str, str], expected: dict[str, str]) -> None:
    sse = "x-amz-server-side-encryption"
    wire = {sse + name: value for name, value in source.items()}
    wanted = {sse + name: value for name, value in expected.items()}
    preserve = Preserve(encryption=encryption)
    assert sent(wire, preserve) == wanted
    assert sent(wire, preserve, customer_key=True) == {}
    assert differing(head(wire), head(wanted), None, None, preserve) == []
    if wanted:
        assert differing(head(wire), head({}), None, None, preserve)


def test_a_kms_key_without_counterpart_is_refused_and_never_sent_on() -> None:
    wire = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": KEY_A}
    with pytest.raises(ObjectRefused, match="key_map"):
        sent(wire, Preserve(encryption={"mode": "keep", "key_map": {KEY_B: KEY_B}}))


def test_lock_only_when_asked() -> None:
    assert sent(LOCKED) == {}
    assert sent(LOCKED, Preserve(object_lock="compliance", legal_hold=True), now_ms=IN_2026) == LOCKED


def test_compliance_needs_its_word() -> None:
    result = carried(head(LOCKED), Preserve(object_lock="governance"), UNKNOWN, now_ms=IN_2026)
    assert dict(result.headers)["x-amz-object-lock-mode"] == "GOVERNANCE"
    assert result.dropped == (("object-lock", "COMPLIANCE retention, written as GOVERNANCE"),)


def test_expired_retention_is_dropped_and_named() -> None:
    result = carried(head(LOCKED), Preserve(object_lock="compliance"), UNKNOWN, now_ms=IN_2031)
    assert result.headers == []
    assert [loss for loss, words in result.dropped if "expired" in words] == [""]


def test_lock_that_the_destination_refuses() -> None:
    facts = Capabilities({"object_lock": "rejected"})
    result = carried(head(LOCKED), Preserve(object_lock="governance", legal_hold=True), facts)
    assert result.headers == []
    assert len(result.dropped) == 2


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), max_size=10, unique_by=lambda t: t[0]))
def test_tags_in_the_header_decode_to_themselves(tags: list[tuple[str, str]]) -> None:
    tags = [(k.encode("utf-8", "ignore").decode(), v.encode("utf-8", "ignore").decode()) for k, v in tags]
    tags = [(k, v) for k, v in tags if not k.startswith("aws:")]
    result = carried(head({}), Preserve(), UNKNOWN, tags)
    if result.tags_after is None:
        header = dict(result.headers).get("x-amz-tagging", "")
        assert parse_qsl(header, keep_blank_values=True, strict_parsing=bool(header)) == tags
    else:
        assert list(result.tags_after) == tags


def test_long_tags_follow_after_the_write() -> None:
    tags = [(f"k{i}", "é" * 256) for i in range(10)]
    result = carried(head({}), Preserve(), Capabilities({"tagging": "enforced"}), tags)
    assert result == Carried([], tuple(tags), ())
    # A server that does not know ?tagging may take the XML for the object: only a proven one is asked.
    assert carried(head({}), Preserve(), UNKNOWN, tags) == Carried([], None, (("tags", "10 tags"),))


@pytest.mark.parametrize("found", ["rejected", "ignored"])
def test_tags_follow_where_the_header_does_not_work(found: str) -> None:
    facts = Capabilities({"tagging_header": found, "tagging": "enforced"})
    result = carried(head({}), Preserve(), facts, [("a", "b")])
    assert result == Carried([], (("a", "b"),), ())


def test_tags_where_there_are_none_and_reserved_tags() -> None:
    nowhere = Capabilities({"tagging_header": "rejected", "tagging": "rejected"})
    assert carried(head({}), Preserve(), nowhere, [("a", "b")]) == Carried([], None, (("tags", "1 tags"),))
    reserved = carried(head({}), Preserve(), UNKNOWN, [("aws:x", "1")])
    assert reserved.headers == []
    assert reserved.dropped


def test_last_modified_as_metadata_never_overwrites() -> None:
    moment = "Mon, 01 Jan 2024 00:00:00 GMT"
    preserve = Preserve(last_modified="Source-Modified")
    assert sent({"last-modified": moment}, preserve) == {"x-amz-meta-source-modified": moment}
    older = {"last-modified": moment, "x-amz-meta-source-modified": "2001"}
    assert sent(older, preserve) == {"x-amz-meta-source-modified": "2001"}
    assert differing(head(older), head({"x-amz-meta-source-modified": "2001"}), None, None, preserve) == []
    lost = differing(head({"last-modified": moment}), head({}), None, None, preserve)
    assert lost == [Difference("x-amz-meta-source-modified", moment, "")]


FULL = {**SYSTEM, "x-amz-meta-a": "\xc3\xa9", "x-amz-meta-b": "2", "x-amz-website-redirect-location": "/r",
        "x-amz-storage-class": "STANDARD_IA", "x-amz-checksum-crc32": "AAAAAA=="}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"content-type": "x/y"}, "content-type"),
        ({"expires": ""}, "expires"),
        ({"content-disposition": "attachment"}, "content-disposition"),
        ({"x-amz-meta-a": "\xc3\x83\xc2\xa9"}, "x-amz-meta-a"),
        ({"x-amz-meta-b": None}, "x-amz-meta-b"),
        ({"x-amz-meta-c": "new"}, "x-amz-meta-c"),
        ({"x-amz-website-redirect-location": "/s"}, "website-redirect"),
        ({"x-amz-storage-class": None}, "storage-class"),
        ({"x-amz-checksum-crc32": "AAAAAQ=="}, "checksum-crc32"),
    ],
)
def test_each_changed_field_is_named_alone(change: dict[str, str | None], field: str) -> None:
    changed = {k: v for k, v in {**FULL, **change}.items() if v is not None}
    found = differing(head(FULL), head(changed), [("t", "1")], [("t", "1")], Preserve())
    assert [d.field for d in found] == [field]


def test_nothing_differs_where_only_the_dress_does() -> None:
    arrived = {**FULL, "x-amz-meta-a": "=?UTF-8?B?w6k=?=", "content-encoding": "gzip,aws-chunked", "server": "other"}
    assert differing(head(FULL), head(arrived, etag="f"), [("a", "1"), ("b", "")], [("b", ""), ("a", "1")],
                       Preserve()) == []  # fmt: skip


def test_size_and_tags() -> None:
    found = differing(head({}, 1), head({}, 2), [("a", "1"), ("b", "2")], [("a", "3")], Preserve())
    assert found == [Difference("size", "1", "2"), Difference("tag:a", "1", "3"), Difference("tag:b", "2", "")]


def test_composite_and_full_checksums_are_not_compared_with_each_other() -> None:
    composite = {"x-amz-checksum-crc32": "AAAAAA==-3", "x-amz-checksum-type": "COMPOSITE"}
    full = {"x-amz-checksum-crc32": "BBBBBB==", "x-amz-checksum-type": "FULL_OBJECT"}
    assert differing(head(composite), head(full), None, None, Preserve()) == []


def test_an_accepted_loss_excuses_absence_and_nothing_else() -> None:
    losses = ("tags", "website-redirect", "storage-class", "object-lock", "legal-hold")
    preserve = Preserve(object_lock="compliance", legal_hold=True)
    source = head({"x-amz-website-redirect-location": "/r", "x-amz-storage-class": "STANDARD_IA", **LOCKED})
    assert len(differing(source, head({}), [("a", "1")], [], preserve)) == 6
    assert differing(source, head({}), [("a", "1")], [], preserve, accepted_losses=losses) == []
    other = head({"x-amz-website-redirect-location": "/other", "x-amz-storage-class": "GLACIER"})
    found = differing(source, other, [("a", "1")], [("a", "2")], preserve, accepted_losses=losses)
    assert [d.field for d in found] == ["website-redirect", "storage-class", "tag:a"]


def test_accepted_metadata_and_header_losses() -> None:
    source = head({"expires": "x", "x-amz-meta-a": "1", "x-amz-meta-b": "=?UTF-8?B?w6k=?="})
    assert len(differing(source, head({}), None, None, Preserve())) == 3
    every = ("system-headers", "user-metadata")
    assert differing(source, head({}), None, None, Preserve(), accepted_losses=every) == []
    changed = head({"expires": "y", "x-amz-meta-a": "2", "x-amz-meta-b": "?"})
    found = differing(source, changed, None, None, Preserve(), accepted_losses=(*every, "user-metadata-text"))
    assert [d.field for d in found] == ["expires", "x-amz-meta-a"]


def test_retention_is_compared_as_a_moment() -> None:
    preserve = Preserve(object_lock="compliance")
    arrived = {**LOCKED, "x-amz-object-lock-retain-until-date": "2030-01-01T01:00:00+01:00"}
    assert differing(head(LOCKED), head(arrived), None, None, preserve, now_ms=IN_2026) == []
    later = {**LOCKED, "x-amz-object-lock-retain-until-date": "2030-01-02T00:00:00Z"}
    assert differing(head(LOCKED), head(later), None, None, preserve, now_ms=IN_2026)
    assert differing(head(LOCKED), head({}), None, None, preserve, now_ms=IN_2031) == []


RAW = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)


@given(st.dictionaries(st.sampled_from([f"x-amz-meta-{c}" for c in "abcdef"]), RAW), st.booleans())
def test_what_is_sent_arrives_without_a_difference(metadata: dict[str, str], utf8: bool) -> None:
    if any("=?" in v for v in metadata.values()):
        return
    facts = Capabilities({"user_metadata_utf8": "enforced" if utf8 else "ignored"})
    arrived = sent(metadata, facts=facts)
    assert {k: decode_text(v) for k, v in arrived.items()} == {k: decode_text(v) for k, v in metadata.items()}
    assert differing(head(metadata), head(arrived), None, None, Preserve()) == []


@pytest.mark.alone
def test_the_common_case_is_quick() -> None:
    wire = {"date": "x", "server": "y", "content-length": "5", "etag": '"e"', "content-type": "image/jpeg",
            "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT", "x-amz-request-id": "z", "x-amz-id-2": "w",
            "accept-ranges": "bytes", "x-amz-meta-mtime": "1700000000.5", "x-amz-server-side-encryption": "AES256",
            "x-amz-tagging-count": "1"}  # fmt: skip
    common, made = head(wire), kept(Preserve(), UNKNOWN)
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(200):
            headers_for(Outgoing(common), made)
        best = min(best, (time.perf_counter() - start) / 200)
    assert best < 20e-6  # about 2 us on a quiet machine


ACL = b"""<?xml version="1.0"?><AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Owner><ID>own</ID><DisplayName>o</DisplayName></Owner><AccessControlList>
<Grant><Grantee xmlns:xsi="i" xsi:type="CanonicalUser"><ID>own</ID></Grantee>
<Permission>FULL_CONTROL</Permission></Grant>
<Grant><Grantee xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>
<Permission>READ</Permission></Grant>
<Grant><Grantee xsi:type="CanonicalUser"><ID>other</ID></Grantee><Permission>READ</Permission></Grant>
<Grant><Grantee xsi:type="CanonicalUser"><ID>other</ID></Grantee><Permission>WRITE_ACP</Permission></Grant>
</AccessControlList></AccessControlPolicy>"""


def test_acl_is_mapped() -> None:
    grants = acl_grants(ACL, {"other": "theirs"})
    assert grants.unmapped == ()
    assert grants.headers == [
        ("x-amz-grant-read", 'uri="http://acs.amazonaws.com/groups/global/AllUsers", id="theirs"'),
        ("x-amz-grant-write-acp", 'id="theirs"'),
    ]
    assert dict(carried(head({}), Preserve(acl=True), UNKNOWN, acl=grants.headers).headers) == dict(grants.headers)


def test_acl_names_the_unmapped_and_drops_on_purpose() -> None:
    assert acl_grants(ACL, {}).unmapped == ("other (READ)", "other (WRITE_ACP)")
    dropped = acl_grants(ACL, {"other": "", "http://acs.amazonaws.com/groups/global/AllUsers": ""})
    assert dropped == ([], ())
    assert acl_grants(ACL, {"other": 'x", id="y'}).unmapped == ("other (READ)", "other (WRITE_ACP)")


def test_missing_grants_are_named() -> None:
    all_users = "http://acs.amazonaws.com/groups/global/AllUsers"
    arrived = ACL.replace(b"other", b"theirs").replace(b"<ID>own</ID>", b"<ID>new-owner</ID>")
    assert missing_grants(ACL, arrived, {"other": "theirs"}) == ()
    assert missing_grants(ACL, arrived, {"other": "third"}) == ("third (READ)", "third (WRITE_ACP)")
    bare = b"<AccessControlPolicy><Owner><ID>x</ID></Owner></AccessControlPolicy>"
    assert missing_grants(ACL, bare, {"other": ""}) == (f"{all_users} (READ)",)
    assert missing_grants(ACL, bare, {"other": "x", all_users: ""}) == ()


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"<html></html>",
        b"<AccessControlPolicy>",
        b'<!DOCTYPE x [<!ENTITY e "boom">]><AccessControlPolicy>&e;</AccessControlPolicy>',
        b"<AccessControlPolicy/>" + b" " * 300_000,
    ],
)
def test_acl_from_a_stranger(xml: bytes) -> None:
    with pytest.raises(ResponseUnreadable):
        acl_grants(xml, {})
