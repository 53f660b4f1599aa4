"""Does parallel listing use what an endpoint gives where all keys lie under one prefix? In turns, without a clock.

python -m bench.flat_listing [KEYS]

Each turn every thread gets the page it has asked for, as from an endpoint that answers any number of LISTs in the same
time. A listing by one thread takes a turn a page, so pages / turns is how many times faster several are. What a page
costs this machine (20 to 30 us a key) is not in it.
"""

from __future__ import annotations

import random
import sys
import uuid
from bisect import bisect_right
from collections.abc import Callable, Sequence

from support.listing_server import listed

from bench.workloads import KB
from storage.listing.page import Page, Query
from storage.listing.ranges import Range, Ranges, Span
from storage.port import PageTally

PAGE = 1000
THREADS = (1, 4, 8, 16)
SHAPES: dict[str, Callable[[int, random.Random], str]] = {
    "sequential: d/00000123.bin": lambda number, _chance: f"d/{number:08d}.bin",
    "UUIDs: d/0b1e…": lambda _number, chance: f"d/{uuid.UUID(int=chance.getrandbits(128))}",
    "dated: d/2024-03-07T…": lambda number, _chance: f"d/2024-{number % 12 + 1:02d}-{number % 28 + 1:02d}T{number:08d}",
}


class Turns:
    """A listing of *keys* by so many threads."""

    def __init__(self, keys: Sequence[str], threads: int) -> None:
        self._keys = keys
        self._threads = threads
        self._ranges = Ranges(Span("d/", workers=threads), PageTally())
        self.turns = self.requests = self.found = 0

    def run(self) -> None:
        """To the end."""
        while not self._ranges.exhausted:
            asked = [taken for _ in range(self._threads) if (taken := self._ranges.choose()) is not None]
            pages = [self._page(taken) for taken in asked]
            self.turns += bool(asked)
            self.requests += len(asked)
            for taken, page in zip(asked, pages, strict=True):
                self._ranges.receive(taken, page)
            while (handed_out := self._ranges.pop()) is not None:
                self.found += len(handed_out)

    def _page(self, taken: Range) -> Page:
        begin = int(taken.following[0][1]) if taken.following else bisect_right(self._keys, taken.start)
        entries = [listed(key, KB) for key in self._keys[begin : begin + PAGE]]
        more: Query = (("continuation-token", str(begin + PAGE)),) if begin + PAGE < len(self._keys) else ()
        return Page(entries, True, more, len(entries))


def main(arguments: Sequence[str]) -> int:
    """The table."""
    count = int(arguments[0]) if arguments else 300_000
    print(f"{count:,} keys under one prefix, pages of {PAGE:,}: times as fast as one thread (requests for each page)\n")
    print(f"| keys | {' | '.join(f'{threads} threads' for threads in THREADS)} |\n|---{'|--:' * len(THREADS)}|")
    for name, shape in SHAPES.items():
        chance = random.Random(7)
        keys = sorted({shape(number, chance) for number in range(count)})
        pages = -(-len(keys) // PAGE)
        cells = []
        for threads in THREADS:
            listing = Turns(keys, threads)
            listing.run()
            if listing.found != len(keys):
                raise RuntimeError(f"{name}: {listing.found} of {len(keys)} keys")
            cells.append(f"{pages / listing.turns:.1f} ({listing.requests / pages:.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
