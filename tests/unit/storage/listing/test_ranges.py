"""Ranges of keys listed by several threads: contiguous, complete, bounded, and worth it."""

from __future__ import annotations

import itertools
import random
import threading
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listing_server import listed

from schema.errors import ListingRefused
from schema.objects import ListedObject
from storage.listing.keyspace import KeySpace
from storage.listing.page import Page, Query
from storage.listing.ranges import PAGES_PER_RANGE, OutOfOrder, Range, RangedPages, Ranges, Span, TokenLoop
from storage.port import PageTally


def page_of(entries: list[ListedObject], following: Query) -> Page:
    return Page([*entries], True, following, len(entries))


class Bucket:
    """Reads pages from a sorted list of keys; watches the ranges while it does."""

    def __init__(self, names: list[str], page_size: int) -> None:
        self.entries = [listed(name) for name in sorted(names)]
        self.names = [entry.key for entry in self.entries]
        self.page_size = page_size
        self.requests = 0
        self.lock = threading.Lock()

    def read(self, start_after: str, following: Query) -> Page:
        with self.lock:
            self.requests += 1
        begin = int(following[0][1]) if following else bisect_right(self.names, start_after)
        end = begin + self.page_size
        more: Query = (("continuation-token", str(end)),) if end < len(self.names) else ()
        return page_of(self.entries[begin:end], more)


class SkippingGateway(Bucket):
    """Takes a start-after that is no key for its whole folder, or for everything: what it skips it sends only to who
    comes there by continuations.
    """

    def __init__(self, names: list[str], page_size: int, *, skips: str) -> None:
        super().__init__(names, page_size)
        self.skips = skips

    def read(self, start_after: str, following: Query) -> Page:
        if not following and start_after and start_after not in self.names:
            start_after = start_after.rpartition("/")[0] + "0" if self.skips == "folder" else "\U0010ffff"
        return super().read(start_after, following)


def shape(kind: str, number: int, chance: random.Random) -> str:
    """A key as real buckets have them."""
    if kind == "counted":
        return f"img-{number:08d}.jpg"
    if kind == "hashed":
        return f"{chance.getrandbits(64):016x}"
    if kind == "dated":
        return f"logs/2024/{number % 12 + 1:02d}/{number % 28 + 1:02d}/{number}.gz"
    if kind == "apart":
        return f"{chance.choice(['a/', 'b/very/deep/', 'zz/'])}{number:05d}"
    if kind == "long":
        return f"{'x' * 600}{number:05d}"
    return "".join(chance.choice("aé漢\U0001f600~ /") for _ in range(chance.randint(1, 9)))


KINDS = ["counted", "hashed", "dated", "apart", "long", "wild"]


class Play:
    """Plays the threads of a listing in one thread: who goes next is *chance*, so that every interleaving may come."""

    def __init__(self, bucket: Bucket, workers: int, chance: random.Random) -> None:
        self.bucket = bucket
        self.tally = PageTally()
        self.ranges = Ranges(Span(workers=workers), self.tally)
        self.workers = workers
        self.chance = chance
        self.under_way: list[tuple[Range, Page]] = []
        self.got: list[str] = []
        self.most_held = 0
        self.starts: set[str] = set()

    def run(self) -> None:
        """To the end. Fails when nobody can go on."""
        while not self.ranges.exhausted:
            moves = [self._consume, self._ask, self._ask, self._answer]
            self.chance.shuffle(moves)
            assert any(move() for move in moves) or self.ranges.exhausted, "the listing is stuck"
            self._check()

    def _ask(self) -> bool:
        if len(self.under_way) == self.workers or (taken := self.ranges.choose()) is None:
            return False
        page = self.bucket.read("" if taken.following else taken.start, taken.following)
        self.under_way.append((taken, page))
        return True

    def _answer(self) -> bool:
        if not self.under_way:
            return False
        self.ranges.receive(*self.under_way.pop(self.chance.randrange(len(self.under_way))))
        return True

    def _consume(self) -> bool:
        page = self.ranges.pop()
        self.got += [entry.key for entry in page or ()]
        return page is not None

    def _check(self) -> None:
        """Ranges are contiguous and only the last is open; memory is bounded."""
        boundaries = [(each.start, each.end) for each in self.ranges._ranges]
        for (_start, end), (start, _end) in pairwise(boundaries):
            assert end == start
        assert boundaries[-1][1] is None
        self.starts |= {start for start, _end in boundaries}
        self.most_held = max(self.most_held, self.ranges.held)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    count=st.integers(0, 600),
    page_size=st.integers(1, 30),
    workers=st.integers(1, 8),
    seed=st.integers(0, 2**32),
)
def test_every_key_comes_once_and_in_order(kind: str, count: int, page_size: int, workers: int, seed: int) -> None:
    chance = random.Random(seed)
    bucket = Bucket(list({shape(kind, number, chance) for number in range(count)}), page_size)
    play = Play(bucket, workers, chance)
    play.run()

    assert play.got == bucket.names
    assert play.most_held <= 2 * PAGES_PER_RANGE * workers
    assert bucket.requests <= 2.5 * (count / page_size + 1) + 6 * workers


@pytest.mark.parametrize("skips", ["folder", "everything"])
@pytest.mark.parametrize("workers", [2, 4, 8])
def test_keys_that_a_gateway_skips_behind_start_after_come_all_the_same(skips: str, workers: int) -> None:
    names = [f"p/{number // 200:03d}/{number * 7:06d}" for number in range(6_000)]
    doubts = 0
    for seed in range(5):
        play = Play(SkippingGateway(names, 20, skips=skips), workers, random.Random(seed))
        play.run()
        assert play.got == names
        doubts += play.ranges._doubts
        control = Play(Bucket(names, 20), workers, random.Random(seed))
        control.run()
        assert control.got == names
        assert control.ranges._doubts == 0 and len(control.starts) > 5
        for tally in (play.tally, control.tally):
            assert tally.shown == len(names) + tally.set_aside, "what was shown is accounted for"
    assert doubts


def test_a_gateway_that_hides_a_key_from_each_way_is_out_of_order() -> None:
    """The chain of the first range does not show what an empty-looking middle range did: which is right is unknown."""
    bucket = Bucket([f"{number:04d}" for number in range(400)], 10)
    ranges = Ranges(Span(workers=3), PageTally())
    first = ranges.choose()
    assert first is not None
    ranges.receive(first, bucket.read("", ()))
    taken = [each for each in (ranges.choose(), ranges.choose(), ranges.choose()) if each is not None]
    middle, last = taken[1:]
    ranges.receive(middle, page_of([listed(middle.start + "a")], (("continuation-token", "1"),)))
    ranges.receive(last, page_of([listed(last.start + "z")], (("continuation-token", "2"),)))
    with pytest.raises(OutOfOrder):
        ranges.receive(first, page_of([listed("0011"), listed(last.start + "b")], (("continuation-token", "3"),)))


@pytest.mark.parametrize("seed", range(6))
def test_a_key_equal_to_a_boundary_comes_once(seed: int) -> None:
    """The boundaries that were cut are made into keys, and the listing is played again over them."""
    names = {f"{number:06d}" for number in range(0, 9000, 3)}
    met: set[str] = set()
    for _ in range(3):
        bucket = Bucket(sorted(names), 20)
        play = Play(bucket, 6, random.Random(seed))
        play.run()
        assert play.got == bucket.names
        met |= play.starts & names
        names |= play.starts - {""}
    assert len(met) > 10


@pytest.mark.parametrize(("kind", "most"), [("counted", 1.15), ("hashed", 1.3), ("dated", 1.6), ("apart", 1.6)])
def test_guesses_find_work_for_everyone_and_waste_few_requests(kind: str, most: float) -> None:
    chance = random.Random(7)
    bucket = Bucket(list({shape(kind, number, chance) for number in range(10_000)}), 50)
    play = Play(bucket, 4, chance)
    play.run()

    assert play.got == bucket.names
    assert len(play.starts) > 20
    assert bucket.requests <= most * 200 + 20


@pytest.mark.parametrize(("most_ready", "cuts"), [(3, True), (10, False)])
def test_nothing_is_cut_while_the_consumer_has_pages_enough(most_ready: int, cuts: bool) -> None:
    """A consumer that is slower than the server gets along with one chain of continuations, and wastes no request."""
    bucket = Bucket([f"{number:05d}" for number in range(5_000)], 50)
    ranges = Ranges(Span(workers=4), PageTally())
    got, starts = 0, set[str]()
    while not ranges.exhausted:
        while ranges.ready < most_ready and (taken := ranges.choose()) is not None:
            ranges.receive(taken, bucket.read("" if taken.following else taken.start, taken.following))
        # The other threads look for work, too, while what was ready is consumed.
        others = [taken for _ in range(3) if (taken := ranges.choose()) is not None]
        starts |= {each.start for each in ranges._ranges}
        for taken in others:
            ranges.receive(taken, bucket.read("" if taken.following else taken.start, taken.following))
        got += len(ranges.pop() or ())

    assert got == 5_000
    assert (len(starts) > 1) is cuts
    assert (bucket.requests > 100) is cuts


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_every_idle_thread_is_woken_when_there_is_work_for_it(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wakes the next: the first request ends when all others wait, and the next ones only all together."""
    bucket = Bucket([f"{number:05d}" for number in range(10_000)], 50)
    numbers, idle, together = itertools.count(), threading.Semaphore(0), threading.Barrier(workers)
    choose = Ranges.choose

    def watched(ranges: Ranges) -> Range | None:
        chosen = choose(ranges)
        if chosen is None:
            idle.release()
        return chosen

    def read(start_after: str, following: Query) -> Page:
        number = next(numbers)
        if number == 0:
            assert all(idle.acquire(timeout=20) for _ in range(workers - 1))
        elif number <= workers:
            together.wait(timeout=20)
        return bucket.read(start_after, following)

    monkeypatch.setattr(Ranges, "choose", watched)
    pages = RangedPages(read, Span(workers=workers), PageTally())
    got = [entry.key for page in pages for entry in page]
    pages.close()

    assert got == bucket.names


@pytest.mark.parametrize("kind", KINDS)
def test_threads_come_to_an_end_with_the_keys(kind: str) -> None:
    for seed in range(5):
        chance = random.Random(seed)
        bucket = Bucket(list({shape(kind, number, chance) for number in range(600)}), 10)
        pages = RangedPages(bucket.read, Span(workers=1 + seed), PageTally())
        got = [entry.key for page in pages for entry in page]
        pages.close()

        assert got == bucket.names
        assert not any(thread.is_alive() for thread in pages._threads)


def test_keys_created_meanwhile_disturb_nothing() -> None:
    """New keys may or may not come, those that were there all along do, and the order holds."""
    chance = random.Random(3)
    old = sorted({f"{chance.getrandbits(32):08x}" for _ in range(3000)})
    bucket = Bucket(old, 20)

    def read(start_after: str, following: Query) -> Page:
        with bucket.lock:
            for entry in [listed(f"{chance.getrandbits(32):08x}") for _ in range(5)]:
                place = bisect_right(bucket.names, entry.key)
                if entry.key not in bucket.names[max(0, place - 1) : place]:
                    bucket.names.insert(place, entry.key)
                    bucket.entries.insert(place, entry)
            begin = bisect_right(bucket.names, following[0][1] if following else start_after)
            page = bucket.entries[begin : begin + 20]
            more: Query = (("continuation-token", page[-1].key),) if begin + 20 < len(bucket.names) else ()
            return page_of(page, more)

    pages = RangedPages(read, Span(workers=5), PageTally())
    got = [entry.key for page in pages for entry in page]
    pages.close()

    assert got == sorted(set(got))
    assert set(old) <= set(got)


@pytest.mark.parametrize("workers", [1, 4])
def test_disorder_across_pages_is_signalled(workers: int) -> None:
    bucket = Bucket([f"{number:04d}" for number in range(400)], 10)
    bucket.entries[200:210], bucket.entries[210:220] = bucket.entries[210:220], bucket.entries[200:210]
    pages = RangedPages(bucket.read, Span(workers=workers), PageTally())
    with pytest.raises(OutOfOrder):
        list(pages)
    pages.close()


@given(start=st.integers(0, 50), circle=st.integers(1, 50))
def test_a_circle_is_found_whatever_leads_into_it(start: int, circle: int) -> None:
    loop = TokenLoop()
    with pytest.raises(ListingRefused, match="never end"):
        for step in range(10 * (start + circle)):
            number = step if step < start else start + (step - start) % circle
            loop.check((("continuation-token", str(number)),), 1)


@given(st.integers(1, 2000))
def test_tokens_that_differ_are_no_circle(count: int) -> None:
    loop = TokenLoop()
    for step in range(count):
        loop.check((("continuation-token", str(step)),), 1)


def test_a_guess_counts_as_the_keys_do() -> None:
    space = KeySpace()
    space.learn(f"img-{number:08d}.jpg" for number in (0, 123, 999, 54321))

    guess = space.ahead("img-00001000.jpg", "img-00001999.jpg", "img-00001999.jpg", pages=4)
    assert guess is not None
    assert "img-00005990.jpg" <= guess <= "img-00006000.jpg"


def test_there_is_no_guess_beyond_the_last_place_that_counts() -> None:
    space = KeySpace()
    space.learn(["8", "9"])

    assert space.ahead("8", "9", "9", pages=4) is None


@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=2, max_size=8, unique=True),
    st.integers(1, 9),
)
def test_any_guess_is_valid_utf8(names: list[str], pages: int) -> None:
    space, ordered = KeySpace(), sorted(names)
    space.learn(ordered)
    guess = space.ahead(ordered[0], ordered[1], ordered[-1], pages=pages)

    assert guess is None or guess.encode().decode() == guess
