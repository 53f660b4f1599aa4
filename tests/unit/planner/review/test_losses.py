"""Losses: named when asked for and impossible, silent when not asked for, not there, or not known."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.review.losses import find_losses, key_kinds, risks_of_probes
from schema.attributes.every import LOSSES
from schema.attributes.evidence import Counted, Evidence, SampledObject
from schema.declaration import Preserve, Side
from schema.facts import Capabilities
from schema.objects import ObjectHead
from schema.plan import Inventory, ListingKind, Section

BAD = Capabilities(
    dict.fromkeys(
        ("tagging", "tagging_header", "acl", "user_metadata", "user_metadata_utf8", "user_metadata_rfc2047",
         "storage_class_glacier", "object_lock", "website_redirect", "multipart_etag", "versioning", "key_double_slash",
         "key_dot_segments", "key_control", "key_folder_marker", "key_leading_slash", "system_headers"),
        "rejected",
    )
    | {"system_headers_lost": "expires, content-language"}
)  # fmt: skip
GOOD = Capabilities({name: "enforced" for name in BAD.facts if name != "system_headers_lost"})
EVERYTHING = Preserve(
    acl=True, object_lock="compliance", legal_hold=True, part_layout=True, encryption={"mode": "keep"}
)
NOTHING = Preserve(
    system_headers=False, user_metadata=False, tags=False, website_redirect=False, storage_class="STANDARD"
)
RICH = {
    "expires": "0",
    "x-amz-meta-t": "\xc3\xa9",
    "x-amz-storage-class": "GLACIER",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-legal-hold": "ON",
    "x-amz-website-redirect-location": "/x",
    "x-amz-tagging-count": "1",
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "arn:key",
}


def sampled(key: str = "a//b", headers: Mapping[str, str] = RICH, etag: str = "e-2", **fields: object) -> SampledObject:
    known = {"tags": (("t", "1"),), "grants": (("someone", "READ"),), "annotations": 1} | fields
    return SampledObject(key, ObjectHead(headers, 1, etag), **known)  # type: ignore[arg-type]


def ids(ends: Evidence) -> set[str]:
    return {loss.id for loss in find_losses(ends)}


ALL_IDS = {"tags", "acl", "system-headers", "user-metadata", "user-metadata-text", "storage-class", "object-lock",
           "legal-hold", "encryption", "website-redirect", "part-layout", "versions", "annotations",
           "odd-keys"}  # fmt: skip


def test_every_loss_of_a_poor_destination_is_named() -> None:
    assert ids(Evidence(EVERYTHING, Capabilities(), BAD, [sampled()], all_versions=True)) == ALL_IDS
    in_part = {"metadata-names", "metadata-size"}
    assert ALL_IDS | in_part == LOSSES, "what may be accepted in a declaration is what may be lost"


@pytest.mark.parametrize(
    ("fact", "value", "lost"),
    [
        ("metadata_underscore", "v", {"metadata-names"}),
        ("metadata_dot", "v", set()),
        ("metadata_2kb", "v" * 1100, {"metadata-size"}),
        ("metadata_2kb", "v" * 900, set()),
        ("metadata_4kb", "v" * 1900, set()),
        ("metadata_4kb", "v" * 2100, {"metadata-size"}),
    ],
)
def test_metadata_a_destination_keeps_in_part(fact: str, value: str, lost: set[str]) -> None:
    sample = [SampledObject("a", ObjectHead({"x-amz-meta-a_b": value}, 1, "e"), (), (), None)]
    for seen, expected in (("ignored", lost), ("rejected", lost), ("enforced", set())):
        facts = Capabilities({**GOOD.facts, fact: seen})
        assert ids(Evidence(Preserve(), Capabilities(), facts, sample)) == expected
    none_at_all = Capabilities({**GOOD.facts, fact: "ignored", "user_metadata": "ignored"})
    assert ids(Evidence(Preserve(), Capabilities(), none_at_all, sample)) == {"user-metadata"}


@pytest.mark.parametrize(
    ("size", "etag", "source", "destination", "lost"),
    [
        (11 << 20, "e-2", {}, {}, False),
        (11 << 20, "e-2", {"reads_part_numbers": "rejected"}, {}, True),
        (11 << 20, "e", {"reads_part_numbers": "rejected"}, {}, False),
        (6 << 30, "e-1001", {}, {"part_numbers": "rejected"}, True),
        (6 << 30, "e-1000", {}, {"part_numbers": "rejected"}, False),
        (6 << 20, "e-3", {}, {}, True),
        (10 << 20, "e-3", {}, {}, False),
    ],
)
def test_part_layouts_that_cannot_be_kept(
    size: int, etag: str, source: dict[str, str], destination: dict[str, str], lost: bool
) -> None:
    sample = [SampledObject("a", ObjectHead({}, size, etag), (), (), None)]
    there = Capabilities({**GOOD.facts, **destination})
    found = ids(Evidence(Preserve(part_layout=True), Capabilities(source), there, sample))
    assert found == ({"part-layout"} if lost else set())


def test_what_is_accepted_holds_for_objects_that_the_sample_has_missed() -> None:
    evidence = Evidence(Preserve(), Capabilities(), GOOD)
    assert find_losses(evidence) == ()
    assert [(loss.id, loss.accepted) for loss in find_losses(evidence, ["tags"])] == [("tags", True)]


def test_what_is_not_asked_for_is_no_loss() -> None:
    assert ids(Evidence(NOTHING, Capabilities(), BAD, [sampled("a/b", annotations=None)])) == set()


def test_what_no_object_has_is_no_loss() -> None:
    plain = SampledObject("a", ObjectHead({"content-type": "x"}, 1, "e"), (), (), None)
    assert ids(Evidence(EVERYTHING, Capabilities(), BAD, [plain])) == set()


def test_what_was_not_probed_is_no_loss_but_the_tool_s_own_limits_are() -> None:
    found = ids(Evidence(EVERYTHING, Capabilities(), Capabilities(), [sampled(etag="e")]))
    assert found == {"annotations", "acl", "encryption"}


def test_a_good_destination_loses_nothing() -> None:
    preserve = Preserve(
        acl=True, acl_grantees={"someone": "x"}, object_lock="compliance", legal_hold=True, part_layout=True,
        encryption={"mode": "keep", "key_map": {"arn:key": "arn:other"}},
    )  # fmt: skip
    carried = sampled(etag="e", annotations=None)
    assert ids(Evidence(preserve, Capabilities(), GOOD, [carried], all_versions=True)) == set()


@pytest.mark.parametrize(
    ("headers", "lost"),
    [
        ({}, set()),
        ({"x-amz-server-side-encryption": "AES256"}, set()),
        ({"x-amz-server-side-encryption": "aws:kms"}, {"part-layout"}),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, {"part-layout"}),
    ],
)
def test_the_parts_of_an_encrypted_object_give_another_etag(headers: dict[str, str], lost: set[str]) -> None:
    sample = [SampledObject("a", ObjectHead(headers, 11 << 20, "e-2"), (), (), None)]
    assert ids(Evidence(Preserve(part_layout=True), Capabilities(), GOOD, sample)) == lost


def test_what_may_not_be_read_is_a_loss_and_what_is_not_there_is_none() -> None:
    hidden = Capabilities({"tags_readable": "rejected", "acl_readable": "rejected"})
    assert ids(Evidence(EVERYTHING, hidden, GOOD)) == {"tags", "acl"}
    absent = Capabilities({"tags_readable": "ignored", "acl_readable": "ignored"})
    assert ids(Evidence(EVERYTHING, absent, GOOD)) == set()


@pytest.mark.parametrize("keeps", ["user_metadata_utf8", "user_metadata_rfc2047"])
def test_either_dress_of_text_is_enough(keeps: str) -> None:
    facts = Capabilities({**BAD.facts, "user_metadata": "enforced", keeps: "enforced"})
    assert "user-metadata-text" not in ids(Evidence(Preserve(), Capabilities(), facts, [sampled()]))


@pytest.mark.parametrize("way", ["tagging", "tagging_header"])
def test_either_way_of_tagging_is_enough(way: str) -> None:
    facts = Capabilities({**BAD.facts, way: "enforced"})
    assert "tags" not in ids(Evidence(Preserve(), Capabilities(), facts, [sampled()]))


def test_accepted_by_name_and_with_count_and_examples() -> None:
    ends = Evidence(
        Preserve(), Capabilities(), BAD,
        storage_classes={"GLACIER": Counted(7, ("a", "b")), "STANDARD": Counted(9, ("c",))},
        key_kinds={"double-slash": Counted(2, ("a//b", "c//d")), "control": Counted(1, ("\x01",))},
    )  # fmt: skip
    found = {loss.id: loss for loss in find_losses(ends, accepted=("storage-class",))}
    assert (found["storage-class"].accepted, found["odd-keys"].accepted) == (True, False)
    assert (found["storage-class"].objects, found["storage-class"].examples) == (7, ("a", "b"))
    assert (found["odd-keys"].objects, found["odd-keys"].examples) == (3, ("a//b", "c//d", "\x01"))


def test_a_mapped_storage_class_is_what_counts() -> None:
    mapped = Preserve(storage_class="map", storage_class_map={"GLACIER": "STANDARD", "STANDARD": "ONEZONE_IA"})
    facts = Capabilities({"storage_class_glacier": "rejected", "storage_class_onezone_ia": "ignored"})
    listed = {"GLACIER": Counted(1, ()), "STANDARD": Counted(5, ())}
    ends = Evidence(mapped, Capabilities(), facts, storage_classes=listed)
    (loss,) = find_losses(ends)
    assert (loss.id, loss.objects) == ("storage-class", 5)
    assert "ONEZONE_IA" in loss.text


def test_governance_for_compliance_is_a_loss_of_its_own() -> None:
    (loss,) = find_losses(
        Evidence(Preserve(object_lock="governance", tags=False), Capabilities(), GOOD, [sampled(annotations=None)])
    )
    assert (loss.id, loss.examples) == ("object-lock", ("a//b",))


def test_kms_key_map() -> None:
    for encryption, lost in (
        ({"mode": "keep"}, True),
        ({"mode": "keep", "key": "arn:other"}, False),
        ({"mode": "keep", "key_map": {"arn:key": "same"}}, False),
        ({"mode": "keep", "key_map": {"arn:else": "same"}}, True),
        ({"mode": "sse-s3"}, False),
        ({}, False),
    ):
        ends = Evidence(Preserve(encryption=encryption), Capabilities(), GOOD, [sampled(annotations=None)])
        assert ("encryption" in ids(ends)) is lost


def test_the_order_is_fixed_and_no_loss_comes_twice() -> None:
    ends = Evidence(EVERYTHING, Capabilities({"tags_readable": "rejected"}), BAD, [sampled("a"), sampled("b")])
    first = find_losses(ends)
    assert first == find_losses(ends)
    assert len({loss.id for loss in first}) == len(first)
    assert all(len(loss.examples) <= 5 for loss in first)


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        ("a/b", set()),
        ("a.b/c..d", set()),
        ("a//b", {"double-slash"}),
        ("/a", {"leading-slash"}),
        ("a/", {"folder-marker"}),
        ("./x", {"dot-segments"}),
        ("a/../b", {"dot-segments"}),
        ("..", {"dot-segments"}),
        ("\x01", {"control"}),
        ("//", {"double-slash", "leading-slash", "folder-marker"}),
        ("日本", set()),
        ("...", set()),
        ("x/.hidden/y", set()),
        ("é", {"normal-form"}),
        ("e\u0301", {"normal-form"}),
        ("\U0001f600", {"wide"}),
        ("a\\b", {"backslash"}),
        ("a b", {"characters"}),
        ("a+b%", {"characters"}),
        (" a/b", {"blanks", "characters"}),
        ("a./b", {"blanks"}),
        ("b/" + "x" * 256, {"long-segment"}),
        ("x" * 255 + "/" + "y" * 255, set()),
        ("é" * 128, {"long-segment", "normal-form"}),
    ],
)
def test_kinds_of_keys(key: str, kinds: set[str]) -> None:
    assert key_kinds(key) == kinds


@given(st.text(alphabet="a./\x01é", max_size=8))
def test_kinds_of_keys_agree_with_their_definition(key: str) -> None:
    kinds = key_kinds(key)
    assert ("dot-segments" in kinds) == any(s in (".", "..") for s in key.split("/"))
    assert ("control" in kinds) == ("\x01" in key)
    assert ("double-slash" in kinds) == ("//" in key)


def risk_ids(
    preserve: Preserve, here: Mapping[str, str], there: Mapping[str, str], bucket: str = "a", **side: object
) -> set[str]:
    nothing = Inventory(ListingKind.OBJECTS, 0, 0, "")
    section = Section(
        "s", Side(bucket, **side), Side("b"), nothing, nothing, Capabilities(here), Capabilities(there),  # type: ignore[arg-type]
        {}, {}, {},
    )  # fmt: skip
    return {risk.id for risk in risks_of_probes(section, preserve)}


def test_risks() -> None:
    assert risk_ids(Preserve(), {}, {}) == set()
    assert risk_ids(Preserve(), {}, {"complete_if_none_match": "ignored"}) == {"atomic-create"}
    assert risk_ids(Preserve(), {}, {"bucket_lifecycle": "aborts uploads after 7 days, expires objects"}) == {
        "lifecycle-expiry"
    }
    carries = {"sample_carries": "kms, legal-hold, object-lock"}
    assert risk_ids(Preserve(), carries, {}) == {"kms-not-asked", "legal-hold-not-asked", "object-lock-not-asked"}
    assert risk_ids(EVERYTHING, carries, {}) == set()
    assert risk_ids(Preserve(), {"bucket_payer": "Requester"}, {}) == {"requester-pays"}
    assert risk_ids(Preserve(), {"bucket_payer": "Requester"}, {}, requester_pays=True) == set()
    blind = dict.fromkeys(("crc64nvme", "crc32c", "crc32", "content_md5"), "ignored")
    assert risk_ids(Preserve(), {"checksums_returned": "enforced"}, blind) == {"unproven-writes", "checksums"}
    assert risk_ids(Preserve(), {}, {"probe": "x", "bucket_default_retention": "GOVERNANCE 1 days"}) == {
        "not-probed",
        "default-retention",
    }
    assert risk_ids(Preserve(), {}, {}, bucket="logs--use1-az4--x-s3") == {"directory-bucket-source"}
