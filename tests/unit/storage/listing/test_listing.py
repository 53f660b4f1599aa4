"""Listings: complete, ascending, strict, whatever the server does."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listing_server import (
    START_MS,
    ListingServer,
    bucket_of,
    list_objects,
    list_versions,
    listed,
    objects_page,
    server_of,
)  # fmt: skip

from schema.errors import BucketMissing, ListingRefused, ListingUnordered, ServerFault, StoreError, Throttled
from schema.objects import ListedObject, UnsupportedEntry
from storage.listing.asking import ListingHabits, PageFetch
from storage.listing.listing import ask_listing
from storage.retrying import Retry, RetryPolicy

AT_ONCE = Retry(RetryPolicy(attempts=3), wait=lambda _seconds: None, random=lambda: 0.0, clock=lambda: 0.0)
ALPHABETS = ["ab", "0123456789", "0123456789abcdef", "a/.", "aé~\U0001f600\ue000", " +%/\x01\n\r\x7f\x85"]

key_sets = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.sets(st.text(alphabet, min_size=1, max_size=6), max_size=120)
)


def keys(fetch: PageFetch, prefix: str = "", **settings: object) -> list[str]:
    listing = list_objects(fetch, "bucket", prefix, retry=AT_ONCE, **settings)  # type: ignore[arg-type]
    return [entry.key for entry in listing]


def threads_listing() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("listing-")]


@settings(max_examples=150, deadline=None)
@given(names=key_sets, page_size=st.integers(1, 9), parallel=st.integers(1, 6))
def test_any_ordered_bucket_is_listed_whole_once_and_in_order(names: set[str], page_size: int, parallel: int) -> None:
    assert keys(server_of(names, page_size=page_size), parallel=parallel) == sorted(names)


@settings(max_examples=60, deadline=None)
@given(names=key_sets, page_size=st.integers(1, 9), parallel=st.integers(1, 4), data=st.data())
def test_prefix_and_start_after_bound_the_listing(
    names: set[str], page_size: int, parallel: int, data: st.DataObject
) -> None:
    prefix = data.draw(st.sampled_from(sorted({name[:1] for name in names} | {""})))
    after = data.draw(st.sampled_from(sorted(names | {"", "m"})))
    server = server_of(names, page_size=page_size)

    wanted = sorted(name for name in names if name.startswith(prefix) and name > after)
    assert keys(server, prefix, start_after=after, parallel=parallel) == wanted


@settings(max_examples=100, deadline=None)
@given(
    names=key_sets, page_size=st.integers(1, 9), parallel=st.integers(1, 3), chance=st.randoms(use_true_random=False)
)
def test_an_unordered_bucket_is_sorted_or_asks_for_a_second_start(
    names: set[str], page_size: int, parallel: int, chance: object
) -> None:
    """Whatever was handed out before the refusal is ascending, and the second listing is whole."""
    entries = [listed(name) for name in sorted(names)]
    chance.shuffle(entries)  # type: ignore[attr-defined]
    server, order = ListingServer(entries, page_size=page_size, ignores_start_after=True), ListingHabits()
    got: list[str] = []
    try:
        got.extend(e.key for e in list_objects(server, "bucket", "", parallel=parallel, retry=AT_ONCE, habits=order))
    except ListingUnordered:
        assert got == sorted(set(got))
        got = keys(server, parallel=parallel, habits=order, sort_memory=10_000)
    assert got == sorted(names)


def test_disorder_on_the_first_pages_is_sorted_unseen() -> None:
    entries = [listed(f"k{number:04d}") for number in (*range(20), *range(40, 60), *range(20, 40))]
    order = ListingHabits()

    assert keys(ListingServer(entries, page_size=20), habits=order) == [f"k{number:04d}" for number in range(60)]
    assert order.unordered


def late_disorder() -> ListingServer:
    """A gateway that walks folders: a/... before a.txt."""
    return ListingServer([listed(f"a/{number:04d}") for number in range(100)] + [listed("a.txt")], page_size=10)


def test_disorder_after_keys_were_handed_out_asks_for_a_second_start_that_succeeds() -> None:
    order = ListingHabits()
    with pytest.raises(ListingUnordered, match="listed again"):
        keys(late_disorder(), habits=order)

    assert keys(late_disorder(), habits=order) == sorted(entry.key for entry in late_disorder().entries)


def test_a_repeated_page_in_mid_listing_does_not_disturb() -> None:
    """Ninety keys were handed out and are the first ninety of the sorted listing: it goes on behind them."""
    names = [f"{number:04d}" for number in range(100)]
    entries = [listed(name) for name in names[:90] + names[80:]]

    assert keys(ListingServer(entries, page_size=10)) == names


def test_of_a_key_listed_twice_the_newest_entry_counts() -> None:
    newer = listed("b", size=2)._replace(modified_ms=START_MS + 1)
    server = ListingServer([newer, listed("a"), listed("b")])

    assert list(list_objects(server, "bucket", "", retry=AT_ONCE)) == [listed("a"), newer]


def test_a_server_that_ignores_start_after_is_cut_by_hand() -> None:
    server = server_of("abcdefgh", page_size=3, ignores_start_after=True)

    assert keys(server, start_after="d") == list("efgh")
    assert keys(server, start_after="d", parallel=3) == list("efgh")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>It works!</body></html>",
        objects_page([listed("a")])[:-30],
        objects_page([listed("a")], truncated=""),
        objects_page([listed("a")], truncated="maybe"),
        objects_page([listed("a")], truncated="true"),
        objects_page([listed("a")], bucket="another"),
        objects_page([listed("elsewhere")]),
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + objects_page()[39:],
    ],
    ids=["empty", "html", "cut", "unsaid", "maybe", "no-token", "other-bucket", "outside", "doctype"],
)
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_page_that_does_not_prove_itself_is_refused(body: bytes, parallel: int) -> None:
    with pytest.raises(ListingRefused):
        keys(lambda _query: body, "a", parallel=parallel)


def test_an_unreadable_page_is_asked_for_again_first() -> None:
    good = server_of("abc")
    answers = [b"", b"<html>busy</html>"]

    assert keys(lambda query: answers.pop() if answers else good(query)) == list("abc")


def test_an_error_inside_a_200_is_retried_and_then_raised() -> None:
    calls: list[int] = []

    def fetch(_query: list[tuple[str, str]]) -> bytes:
        calls.append(1)
        return b"<Error><Code>InternalError</Code><Message>again</Message></Error>"

    with pytest.raises(ServerFault, match="InternalError again"):
        keys(fetch)
    assert len(calls) == 3


@pytest.mark.parametrize("tokens", [1, 2, 7])
@pytest.mark.parametrize("filled", [True, False])
def test_a_circle_of_tokens_ends_in_refusal(tokens: int, filled: bool) -> None:
    def fetch(query: list[tuple[str, str]]) -> bytes:
        number = int(dict(query).get("continuation-token", "0"))
        return objects_page([listed(f"k{number}")] if filled else [], token=str((number + 1) % tokens or tokens))

    with pytest.raises(ListingRefused, match="never end"):
        keys(fetch)


def test_empty_pages_in_mid_listing_are_legal() -> None:
    pages = {"": objects_page([], token="1"), "1": objects_page([listed("a")], token="2"), "2": objects_page()}

    assert keys(lambda query: pages[dict(query).get("continuation-token", "")]) == ["a"]


def test_throttling_does_not_count_as_an_attempt() -> None:
    def slow_down(number: int, _query: dict[str, str]) -> None:
        if number <= 20:
            raise Throttled("slow down")

    assert keys(server_of("abc", before=slow_down)) == list("abc")


@pytest.mark.parametrize("parallel", [1, 4])
def test_an_error_in_mid_listing_is_raised_and_leaves_no_thread(parallel: int) -> None:
    def fail(number: int, _query: dict[str, str]) -> None:
        if number >= 8:
            raise BucketMissing("gone")

    with pytest.raises(BucketMissing):
        keys(server_of((f"{n:04d}" for n in range(200)), page_size=10, before=fail), parallel=parallel)
    assert threads_listing() == []


@pytest.mark.parametrize("parallel", [1, 4])
def test_closing_the_listing_ends_its_threads_and_requests(parallel: int) -> None:
    server = server_of((f"{n:05d}" for n in range(5000)), page_size=10)
    listing = list_objects(server, "bucket", "", parallel=parallel, retry=AT_ONCE)
    next(listing)
    listing.close()  # type: ignore[attr-defined]
    made = server.requests

    assert threads_listing() == []
    assert made <= 12 * parallel + 12
    assert server.requests == made


def test_a_listing_nobody_reads_on_does_not_run_away() -> None:
    """The server is asked for no more pages than may be held; it says itself when it is idle."""
    server = server_of((f"{n:05d}" for n in range(20_000)), page_size=10)
    listing = list_objects(server, "bucket", "", parallel=4, retry=AT_ONCE)
    for _ in range(1000):
        next(listing)
    assert server.requests <= 100 + 60
    listing.close()  # type: ignore[attr-defined]


def test_parallel_listing_overlaps_requests_where_it_matters() -> None:
    """With a page in flight at one range, others are in flight elsewhere; and few requests are wasted."""
    at_once, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(4)

    def together(number: int, _query: dict[str, str]) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        if 2 <= number <= 5:
            gate.wait(timeout=5)
        with lock:
            at_once -= 1

    names = [f"photos/{n:07x}" for n in range(0, 90_000, 9)]
    server = server_of(names, page_size=50, before=together)

    assert keys(server, parallel=4) == names
    assert most == 4
    assert server.requests <= 200 * 1.35


def version(key: str, number: int, modified: int, *, latest: bool = False, marker: bool = False) -> ListedObject:
    size, etag = (0, "") if marker else (1, "0" * 32)
    return ListedObject(
        key, size, etag, START_MS + modified, version_id=f"v{number}", is_latest=latest, delete_marker=marker
    )


def history(newest_first: bool) -> tuple[list[ListedObject], list[ListedObject]]:
    """(as listed, as wanted): with ties in time, markers, and a key whose versions span pages."""
    wanted, shown = [], []
    for key, times in {"a": [5], "b": [1, 1, 1, 2, 2], "b+c": [9, 9], "c": [3, 4, 5, 5, 5, 6]}.items():
        last = len(times) - 1
        group = [
            version(key, number, time, latest=number == last, marker=number % 2 == 1)
            for number, time in enumerate(times)
        ]
        wanted += group
        shown += reversed(group) if newest_first else group
    return shown, wanted


@pytest.mark.parametrize(("newest_first", "sort_memory"), [(True, 1 << 20), (True, 2048), (False, 1 << 20)])
@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_versions_come_oldest_first_whichever_way_they_are_listed(
    newest_first: bool, page_size: int, sort_memory: int
) -> None:
    shown, wanted = history(newest_first)
    server = ListingServer(shown, page_size=page_size)

    assert list(list_versions(server, "bucket", "", retry=AT_ONCE, sort_memory=sort_memory)) == wanted


def test_unordered_versions_are_sorted() -> None:
    shown, wanted = history(newest_first=True)
    turned = shown[6:] + shown[:6]

    assert list(list_versions(ListingServer(turned, page_size=3), "bucket", "", retry=AT_ONCE)) == wanted


@pytest.mark.parametrize("flags", [(False, False), (True, True)])
@pytest.mark.parametrize("sort_memory", [1 << 20, 1024])
def test_versions_latest_a_key_without_exactly_one_is_unsupported_and_the_rest_goes_on(
    flags: tuple[bool, bool], sort_memory: int
) -> None:
    entries = [
        version("a", 2, 2, latest=flags[0]),
        version("a", 1, 1, latest=flags[1]),
        version("b", 3, 3, latest=True),
    ]
    got = list(list_versions(ListingServer(entries), "bucket", "", retry=AT_ONCE, sort_memory=sort_memory))

    assert [(entry.key, entry.version_id) for entry in got] == [("a", "v1"), ("a", "v2"), ("b", "v3")]
    assert [isinstance(entry, UnsupportedEntry) for entry in got] == [True, True, False]
    assert isinstance(got[0], UnsupportedEntry)
    assert "latest" in got[0].reason


def test_versions_latest_control_one_latest_version_is_planned() -> None:
    entries = [version("a", 2, 2, latest=True), version("a", 1, 1)]
    assert list(list_versions(ListingServer(entries), "bucket", "", retry=AT_ONCE)) == entries[::-1]


def test_the_query_asks_for_encoded_keys() -> None:
    server = server_of(["p/a"])
    keys(server, "p/", start_after="p/")

    assert server.queries == [
        {"list-type": "2", "encoding-type": "url", "prefix": "p/", "start-after": "p/"},
    ]


def test_errors_of_fetch_pass_unchanged() -> None:
    def fetch(_query: list[tuple[str, str]]) -> bytes:
        raise error

    error: StoreError = BucketMissing("no such bucket", code="NoSuchBucket")
    with pytest.raises(BucketMissing) as caught:
        keys(fetch)
    assert caught.value is error


# --- only asked -----------------------------------------------------------------------------------------------


def test_asking_takes_one_request_for_one_key_however_large_the_bucket() -> None:
    server = server_of([f"p/{number}" for number in range(5_000)])
    ask_listing(bucket_of(server, retry=AT_ONCE), "p/")
    assert [(query["max-keys"], query["prefix"]) for query in server.queries] == [("1", "p/")]


def test_asking_raises_what_a_listing_would() -> None:
    with pytest.raises(ListingRefused):
        ask_listing(bucket_of(lambda _query: b"<html>log in</html>", retry=AT_ONCE), "")

    def missing(_query: object) -> bytes:
        raise BucketMissing("no such bucket")

    with pytest.raises(BucketMissing):
        ask_listing(bucket_of(missing, retry=AT_ONCE), "")


@pytest.mark.parametrize("ignores", [False, True])
def test_a_range_that_is_answered_once_all_is_listed_changes_nothing(ignores: bool) -> None:
    asked, all_there = threading.Event(), threading.Event()

    def before(_number: int, query: dict[str, str]) -> None:
        if "start-after" in query:
            asked.set()
            assert all_there.wait(10)
        elif "continuation-token" in query:
            assert asked.wait(10)

    names = [f"{number:04}" for number in range(2_500)]
    server = server_of(names, page_size=1_250, ignores_start_after=ignores, before=before)
    listing = list_objects(server, "bucket", "", parallel=4)
    found = []
    for entry in listing:
        found.append(entry.key)
        if len(found) == len(names):
            all_there.set()
    assert found == names
    assert listing.tally.due == len(names)
