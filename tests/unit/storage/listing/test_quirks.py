"""Rows of services that are not quite S3, as their listings show them: each with a control without the quirk.

A server here is two functions, LIST and HEAD, over one dictionary of keys.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from support.listing_server import (
    START_MS,
    ListingServer,
    list_objects,
    list_versions,
    listed,
    objects_page,
    versions_page,
)  # fmt: skip

from schema.errors import FeatureUnsupported, ListingRefused, ObjectMissing, ObjectRefused, StoreError
from schema.objects import ListedEntry, ListedObject, ObjectHead, UnsupportedEntry
from storage.listing.asking import ListingHabits
from storage.listing.page import NOT_UTF8, NOT_XML
from storage.port import Believe, Listing
from storage.retrying import Retry, RetryPolicy

AT_ONCE = Retry(RetryPolicy(attempts=2), wait=lambda _seconds: None, random=lambda: 0.0, clock=lambda: 0.0)
GMT = "Mon, 01 Jan 2024 00:00:00 GMT"


@dataclass
class Server:
    """A bucket of {key: size}; the ETag follows from key and size."""

    objects: Mapping[str, int]
    write: Callable[[str], str] = quote_plus
    """How a key is written into a page."""
    declared: bool = True
    page_size: int = 1000
    entry: Callable[[str, str], str] = lambda _key, element: element
    """What becomes of one entry's XML, given its key."""
    page: Callable[[str], str] = lambda page: page
    hidden: Iterable[str] = ()
    """Keys that a HEAD does not find."""
    body: Callable[[bytes], bytes] = lambda body: body
    heads: list[str] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)

    def etag(self, key: str) -> str:
        return f"{abs(hash((key, self.objects[key]))):032x}"

    def list(self, pairs: list[tuple[str, str]]) -> bytes:
        query = dict(pairs)
        self.queries.append(query)
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")))
        after = query.get("continuation-token", query.get("start-after", query.get("marker", "")))
        begin = bisect_right(keys, after)
        shown = keys[begin : begin + self.page_size]
        more = begin + self.page_size < len(keys)
        token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        entries = "".join(self.entry(key, self._element(key)) for key in shown)
        return self.body(
            self.page(
                f"<ListBucketResult><Name>bucket</Name>{'<EncodingType>url</EncodingType>' if self.declared else ''}"
                f"<KeyCount>{len(shown)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}"
                "</ListBucketResult>"
            ).encode("utf-8", "surrogateescape")
        )

    def _element(self, key: str) -> str:
        return (
            f"<Contents><Key>{self.write(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{self.etag(key)}&quot;</ETag><Size>{self.objects[key]}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )

    def head(self, key: str, _version: str | None) -> ObjectHead:
        self.heads.append(key)
        if key not in self.objects or key in self.hidden:
            raise ObjectMissing("no such key", key=key, status=404)
        size = self.objects[key]
        return ObjectHead({"content-length": str(size), "last-modified": GMT}, size, self.etag(key))

    def listing(self, prefix: str = "", **settings: object) -> Listing:
        return list_objects(self.list, "bucket", prefix, retry=AT_ONCE, head=self.head, **settings)  # type: ignore[arg-type]

    def all(self, prefix: str = "", **settings: object) -> list[ListedEntry]:
        listing = self.listing(prefix, **settings)
        found = list(listing)
        assert listing.tally.due == len(found), "conservation"
        return found


def keys(entries: Iterable[ListedEntry]) -> list[str]:
    """Of the entries that can be migrated."""
    return [entry.key for entry in entries if isinstance(entry, ListedObject)]


def flawed(entries: Iterable[ListedEntry]) -> dict[str, str]:
    return {entry.key: entry.reason for entry in entries if isinstance(entry, UnsupportedEntry)}


PAIR = {"a b": 1, "a+b": 2, "c": 3}
ODD = {"a b": 1, "a+b": 2, "c%20d": 3, "e%2Bf": 4, "p/q": 5, "\u00e9": 6, "plain": 7, "x y+z": 8}


# --- plus-unescaped and its kin


WRITERS: dict[str, Callable[[str], str]] = {
    "form": quote_plus,
    "form, slashes kept": lambda key: quote_plus(key, safe="/"),
    "plus unescaped": lambda key: quote(key, safe="/+"),
    "lower-case hex": lambda key: quote(key, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
    "not at all": escape,
    "twice": lambda key: quote(quote(key, safe=""), safe=""),
}


@pytest.mark.parametrize("bucket", [PAIR, ODD, {"a+b": 1}, {"a b": 1}, {"a%20b": 1}, {"a%252Bb": 1, "z": 2}])
@pytest.mark.parametrize("name", WRITERS)
def test_plus_unescaped_every_key_is_listed_however_it_is_written(name: str, bucket: dict[str, int]) -> None:
    server = Server(bucket, write=WRITERS[name])

    found = server.all()
    assert keys(found) == sorted(bucket)
    assert len(server.heads) <= 4 * 24


def test_plus_unescaped_control_of_plain_keys_nothing_is_asked() -> None:
    server = Server({f"k{number}": number for number in range(50)})

    assert len(server.all()) == 50
    assert server.heads == []


def test_plus_unescaped_control_escapes_that_forms_write_are_believed() -> None:
    server = Server({"b,=1+1": 1, "\u00e9": 2, "a/b": 3, "c(d)&": 4})

    assert keys(server.all()) == sorted(server.objects)
    assert server.heads == []


def test_plus_unescaped_one_answer_settles_the_endpoint() -> None:
    server = Server({f"a+{number:04d}": number for number in range(300)}, write=WRITERS["plus unescaped"], page_size=50)

    assert keys(server.all()) == sorted(server.objects)
    assert len(server.heads) <= 4


def test_plus_unescaped_both_of_a_pair_with_one_content_are_listed() -> None:
    server = Server({"a b": 1, "a+b": 1}, write=WRITERS["plus unescaped"])
    server.etag = lambda _key: "0" * 32  # type: ignore[method-assign]

    assert keys(server.all()) == ["a b", "a+b"]


def test_plus_unescaped_spaces_and_pluses_written_alike_are_told_apart_by_their_heads() -> None:
    server = Server({"a b": 1, "a+b": 2, "c+d": 3, "e f": 4}, write=lambda key: quote(key.replace(" ", "+"), safe="+"))

    assert keys(server.all()) == ["a b", "a+b", "c+d", "e f"]


def test_plus_unescaped_pages_that_do_not_say_they_are_encoded_but_are() -> None:
    server = Server(ODD, declared=False)

    assert keys(server.all()) == sorted(ODD)


def test_plus_unescaped_control_a_server_that_ignores_encoding_type() -> None:
    server = Server(ODD, write=escape, declared=False)

    assert keys(server.all()) == sorted(ODD)


# --- one-bad-key


@pytest.mark.parametrize(
    ("bad", "reason"), [("b\udcff", NOT_UTF8), ("b\x01c", NOT_XML), ("b\ufffe", NOT_XML), ("b\udcc3(", NOT_UTF8)]
)
def test_one_bad_key_is_unsupported_by_name_and_the_rest_goes_on(bad: str, reason: str) -> None:
    server = Server({"a": 1, bad: 2, "c": 3}, write=escape, declared=False)
    found = server.all()

    assert [entry.key for entry in found] == ["a", bad, "c"]
    assert flawed(found) == {bad: reason}


def test_one_bad_key_as_a_character_reference_or_encoded() -> None:
    server = Server({"a": 1, "b\x02": 2, "c": 3}, write=lambda key: key.replace("\x02", "&#2;"), declared=False)
    assert flawed(server.all()) == {"b\x02": NOT_XML}
    server = Server({"a": 1, "b": 2}, write=lambda key: key.replace("b", "b%FF"))
    assert flawed(server.all()) == {"b\udcff": NOT_UTF8}


def test_one_bad_key_at_the_end_of_a_page_that_goes_on_by_token() -> None:
    server = Server({"a": 1, "b\x01": 2, "c": 3}, write=escape, declared=False, page_size=2)
    server.page = lambda page: page.replace("<NextContinuationToken>b\x01<", "<NextContinuationToken>b~<")

    assert [entry.key for entry in server.all()] == ["a", "b\x01", "c"]


def test_one_bad_key_control_control_characters_sent_encoded_are_keys_like_any() -> None:
    server = Server({"a": 1, "b\x01": 2, "c": 3})

    assert keys(server.all()) == ["a", "b\x01", "c"]


def test_one_bad_key_a_key_that_a_head_does_not_find() -> None:
    """A server that writes U+FFFD for what XML cannot hold shows a key that there is not."""
    server = Server({"a": 1, "b\ufffd": 2}, write=escape, declared=False, hidden=["b\ufffd"])
    assert "HEAD" in flawed(server.all())["b\ufffd"]
    server = Server({"a": 1, "b\ufffd": 2}, write=escape, declared=False)
    assert keys(server.all()) == ["a", "b\ufffd"]


def test_one_bad_key_a_raw_cr_stays_a_cr() -> None:
    server = Server({"a\rb": 1, "c\nd": 2}, write=lambda key: key, declared=False)

    assert keys(server.all()) == ["a\rb", "c\nd"]


# --- what an entry does not tell


MISSING = {
    "size": ("<Size>5</Size>", ""),
    "size-negative": ("<Size>5</Size>", "<Size>-1</Size>"),
    "size-beyond": ("<Size>5</Size>", f"<Size>{2**63}</Size>"),
    "etag": ("<ETag>", "<E>"),
    "time": ("<LastModified>2024-01-01T00:00:00.000Z</LastModified>", ""),
    "time-unreadable": ("2024-01-01T00:00:00.000Z", "1 Moharram"),
}


@pytest.mark.parametrize("what", MISSING)
def test_not_told_is_asked_by_head(what: str) -> None:
    old, new = MISSING[what]
    server = Server({"a": 1, "b": 5, "c": 3})
    server.entry = lambda key, element: (
        element.replace(old, new).replace("</ETag>", "</E>" if what == "etag" else "</ETag>") if key == "b" else element
    )
    found = server.all()

    assert found == Server(server.objects).all()
    assert server.heads == ["b"]


def test_not_told_and_not_found_by_head_is_unsupported_by_name() -> None:
    server = Server({"a": 1, "b": 5}, hidden=["b"])
    server.entry = lambda _key, element: element.replace("<Size>5</Size>", "")
    found = server.all()

    assert keys(found) == ["a"]
    assert "its size" in flawed(found)["b"]
    assert "no such key" in flawed(found)["b"]


@pytest.mark.parametrize("etag", ["{}", '"{}"', "&quot;{}&quot;", "W/&quot;{}&quot;", " &quot;{}&quot; "])
def test_etags_are_taken_out_of_their_quotes(etag: str) -> None:
    server = Server({"a": 1})
    told = server.etag("a")
    server.entry = lambda _key, element: element.replace(f"&quot;{told}&quot;", etag.format(told))

    assert server.all() == Server({"a": 1}).all()


@pytest.mark.parametrize(
    "text", ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00.000+01:00", "2024-01-01T00:00:00.000000Z", GMT]
)
def test_times_in_other_clothes(text: str) -> None:
    server = Server({"a": 1}, entry=lambda _key, element: element.replace("2024-01-01T00:00:00.000Z", text))

    assert server.all() == Server({"a": 1}).all()


def test_storage_classes_nobody_knows_are_kept_by_name() -> None:
    server = Server({"a": 1}, entry=lambda _key, element: element.replace("STANDARD", "COLD-2"))
    (entry,) = server.all()

    assert isinstance(entry, ListedObject)
    assert entry.storage_class == "COLD-2"


# --- list-head-disagree, list-etag-differs


def test_list_head_disagree_no_bytes_under_a_multipart_etag_are_asked_by_head() -> None:
    server = Server({"a": 1, "b": 9})
    server.etag = lambda key: "f" * 32 + "-2" if key == "b" else "0" * 32  # type: ignore[method-assign]
    wrong = Server(server.objects, entry=lambda _key, element: element.replace("<Size>9<", "<Size>0<"))
    wrong.etag = server.etag  # type: ignore[method-assign]

    assert wrong.all() == server.all()
    assert (wrong.heads, server.heads) == (["b"], [])


def test_list_etag_differs_a_distrusted_listing_gives_what_the_heads_say() -> None:
    server = Server({"a": 1, "b": 2})
    server.entry = lambda key, element: element.replace(server.etag(key), "f" * 32)

    assert server.all(believe=Believe.HEAD) == Server(server.objects).all()
    assert sorted(server.heads) == ["a", "b"]


# --- v1-only


class OnlyV1(Server):
    """Knows neither list-type nor its tokens. *refuses*: it says so."""

    refuses: StoreError | None = None
    next_marker = False

    def list(self, pairs: list[tuple[str, str]]) -> bytes:
        if self.refuses is not None and "list-type" in dict(pairs):
            raise self.refuses
        unknown = ("list-type", "start-after", "continuation-token")
        pairs = [(name, value) for name, value in pairs if name not in unknown]
        page = super().list(pairs).replace(b"KeyCount", b"Count")
        marker = b"NextMarker" if self.next_marker else b"Ignored"
        return page.replace(b"NextContinuationToken", marker)


REFUSALS = [
    None,
    FeatureUnsupported("HTTP 501 NotImplemented", status=501, code="NotImplemented"),
    ObjectRefused("HTTP 400", status=400),
]


@pytest.mark.parametrize("refuses", REFUSALS, ids=["silent", "501", "400"])
@pytest.mark.parametrize("next_marker", [True, False])
@pytest.mark.parametrize("parallel", [1, 4])
def test_v1_only_is_listed_by_markers(refuses: StoreError | None, next_marker: bool, parallel: int) -> None:
    server = OnlyV1({f"k{number:03d}+": number for number in range(100)}, page_size=7)
    server.refuses, server.next_marker = refuses, next_marker
    habits = ListingHabits()

    assert keys(server.all(parallel=parallel, habits=habits)) == sorted(server.objects)
    assert keys(server.all(parallel=parallel, habits=habits, start_after="k050+")) == sorted(server.objects)[51:]
    assert not any("list-type" in query for query in server.queries[-5:])


def test_v1_only_control_a_server_that_knows_v2_is_asked_by_tokens() -> None:
    server = Server({f"k{number:03d}": number for number in range(100)}, page_size=7)

    assert keys(server.all()) == sorted(server.objects)
    assert not any("marker" in query for query in server.queries)
    assert all(query["list-type"] == "2" for query in server.queries)


def test_v1_only_a_server_that_refuses_every_form_is_refused_as_at_first() -> None:
    def refuse(_query: object) -> bytes:
        raise FeatureUnsupported("HTTP 501", status=501)

    with pytest.raises(FeatureUnsupported):
        list(list_objects(refuse, "bucket", "", retry=AT_ONCE))


def test_a_server_that_knows_v2_but_gives_no_token_is_asked_on_from_the_last_key() -> None:
    server = Server({f"k{number:03d}": number for number in range(20)}, page_size=7)
    server.page = lambda page: page.replace("NextContinuationToken", "Ignored")

    assert keys(server.all()) == sorted(server.objects)


@pytest.mark.parametrize("token", [" ", "\t", "  a "])
def test_f5_a_token_of_blanks_is_a_token(token: str) -> None:
    """Text of XML elements is data."""
    server = Server({"a": 1, "b": 2}, page_size=1)
    server.page = lambda page: page.replace("<NextContinuationToken>a<", f"<NextContinuationToken>{token}<")
    kept = server.list

    def answer(pairs: list[tuple[str, str]]) -> bytes:
        return kept([(name, "a" if value == token else value) for name, value in pairs])

    assert keys(list_objects(answer, "bucket", "", retry=AT_ONCE)) == ["a", "b"]


# --- directory entries and names


def test_directory_entries_that_stand_for_their_keys_are_unsupported_by_name() -> None:
    server = Server({"a": 1, "e": 2})
    group = "<CommonPrefixes><Prefix>d%2F</Prefix></CommonPrefixes>"
    server.page = lambda page: page.replace("</ListBucketResult>", f"{group}</ListBucketResult>")
    found = server.all()

    assert [entry.key for entry in found] == ["a", "d/", "e"]
    assert "no delimiter" in flawed(found)["d/"]


def test_directory_entries_control_a_prefix_whose_keys_are_listed_says_nothing() -> None:
    server = Server({"a": 1, "d/": 0, "d/x": 2})
    group = "<CommonPrefixes><Prefix>d%2F</Prefix></CommonPrefixes>"
    server.page = lambda page: page.replace("</ListBucketResult>", f"{group}</ListBucketResult>")

    assert keys(server.all()) == ["a", "d/", "d/x"]
    assert flawed(server.all()) == {}


@pytest.mark.parametrize(
    ("bucket", "name", "good"),
    [
        ("bucket", "Bucket", True),
        ("arn:aws:s3:eu-west-1:1:accesspoint/ap", "behind", True),
        ("ap-xyz-s3alias", "behind", True),
        ("bucket", "other", False),
        ("bucket", "", False),
    ],
)
def test_the_name_of_a_page_is_the_buckets(bucket: str, name: str, good: bool) -> None:
    body = objects_page([listed("a")], bucket=name)
    listing = list_objects(lambda _query: body, bucket, "", retry=AT_ONCE)
    if good:
        assert keys(listing) == ["a"]
    else:
        with pytest.raises(ListingRefused):
            list(listing)


# --- no listing without end


def test_a_server_that_starts_anew_with_fresh_tokens_is_refused() -> None:
    numbers = iter(range(10**6))

    def answer(_query: object) -> bytes:
        return objects_page([listed("a"), listed("b")], token=f"t{next(numbers)}")

    with pytest.raises(ListingRefused, match="keeps repeating pages"):
        list(list_objects(answer, "bucket", "", retry=AT_ONCE))
    assert next(numbers) < 500


def test_empty_pages_for_ever_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.listing.ranges.MOST_EMPTY", 50)
    numbers = iter(range(10**6))

    def answer(_query: object) -> bytes:
        return objects_page([], token=f"t{next(numbers)}")

    with pytest.raises(ListingRefused, match="empty pages"):
        list(list_objects(answer, "bucket", "", retry=AT_ONCE))
    assert next(numbers) < 100


def test_keys_listed_twice_on_one_page_are_one_and_counted() -> None:
    server = Server({"a": 1, "b": 2}, entry=lambda key, element: element * 2 if key == "b" else element)

    assert keys(server.all()) == ["a", "b"]


# --- versions


def version(number: int, second: int, *, latest: bool = False, marker: bool = False, key: str = "k") -> ListedObject:
    size, etag = (0, "") if marker else (number, f"{number:032x}")
    when = START_MS + 1000 * second
    return ListedObject(key, size, etag, when, version_id=f"v{number}", is_latest=latest, delete_marker=marker)


def history_of(shown: list[ListedObject], habits: ListingHabits | None = None) -> tuple[list[str], int]:
    listing = list_versions(ListingServer(shown), "bucket", "", retry=AT_ONCE, habits=habits)
    found = [entry.version_id or "" for entry in listing]
    assert listing.tally.due == len(found)
    return found, listing.tally.unclear_keys


NEWEST_FIRST = [version(3, 9, latest=True), version(2, 5, marker=True), version(1, 5), version(0, 5)]


def test_versions_in_the_same_second_listed_apart_are_a_risk() -> None:
    apart = [NEWEST_FIRST[0], NEWEST_FIRST[2], NEWEST_FIRST[3], NEWEST_FIRST[1]]
    assert history_of(apart)[1] == 1


def test_versions_in_the_same_second_control_an_interleaved_listing_tells_the_order() -> None:
    interleaved = [NEWEST_FIRST[0], NEWEST_FIRST[2], NEWEST_FIRST[1], NEWEST_FIRST[3]]
    assert history_of(interleaved) == (["v0", "v2", "v1", "v3"], 0)


def test_versions_in_the_same_second_control_other_times_tell_the_order() -> None:
    apart = [version(3, 9, latest=True), version(1, 4), version(0, 3), version(2, 5, marker=True)]
    assert history_of(apart) == (["v0", "v1", "v2", "v3"], 0)


def test_versions_in_the_same_second_a_server_seen_to_interleave_is_believed() -> None:
    other = [version(6, 5, key="l", latest=True), version(5, 5, key="l", marker=True), version(4, 5, key="l")]
    assert history_of([*NEWEST_FIRST, *other])[1] == 0


def test_versions_without_ids_are_unsupported_by_name() -> None:
    body = versions_page([version(2, 2, latest=True), version(1, 1)])
    for number in (1, 2):
        body = body.replace(f"<VersionId>v{number}</VersionId>".encode(), b"")
    listing = list_versions(lambda _query: body, "bucket", "", retry=AT_ONCE)
    found = list(listing)

    assert [isinstance(entry, UnsupportedEntry) for entry in found] == [True, True]
    assert len({entry.version_id for entry in found}) == 2
    assert listing.tally.due == 2
