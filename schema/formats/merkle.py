"""A Merkle tree over leaves in order, as RFC 6962 (section 2.1) defines it: root, inclusion paths, and their check.

The tree is never held: a root needs one hash for each bit of the number of leaves; an inclusion path, one pass and as
many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

EMPTY_ROOT = hashlib.sha256(b"").digest()
_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256 of a leaf, distinguished from an inner node by its first byte."""
    return hashlib.sha256(_LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of two hashes below."""
    return hashlib.sha256(_NODE + left + right).digest()


@dataclass(slots=True)
class Accumulator:
    """The root of the leaves added so far, in memory that grows with the logarithm of their number."""

    size: int = 0
    _peaks: list[bytes] = field(default_factory=list)
    """Roots of full subtrees, largest first: one for each 1 in the binary form of *size*."""

    def add(self, leaf: bytes) -> None:
        """Append a leaf."""
        node, full = leaf_hash(leaf), self.size
        while full & 1:
            node = node_hash(self._peaks.pop(), node)
            full >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The Merkle tree hash (MTH) of all leaves added."""
        if not self._peaks:
            return EMPTY_ROOT
        *rest, node = self._peaks
        for peak in reversed(rest):
            node = node_hash(peak, node)
        return node


def spans_of_path(index: int, size: int) -> list[tuple[int, int]]:
    """The ranges [start, end) of leaves whose roots are the inclusion path of leaf *index*, lowest first.

    Raises IndexError unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of {size}")
    spans: list[tuple[int, int]] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        if index < middle:
            spans.append((middle, high))
            high = middle
        else:
            spans.append((low, middle))
            low = middle
    return spans[::-1]


def inclusion_path(leaves: Iterable[bytes], index: int, size: int) -> list[bytes]:
    """The inclusion path (PATH) of leaf *index* of *size*, in one pass over *leaves*.

    Raises IndexError for an index outside, ValueError when there are not *size* leaves.
    """
    spans = spans_of_path(index, size)
    trees = {span: Accumulator() for span in spans}
    ascending = iter(sorted(trees))
    span = next(ascending, None)
    count = 0
    for number, leaf in enumerate(leaves):
        count += 1
        while span is not None and number >= span[1]:
            span = next(ascending, None)
        if span is not None and number >= span[0]:
            trees[span].add(leaf)
    if count != size:
        raise ValueError(f"{count} leaves, not {size}")
    return [trees[span].root() for span in spans]


def root_from_path(leaf: bytes, index: int, size: int, *, path: Sequence[bytes]) -> bytes | None:
    """The root that *path* leads to from *leaf*; None: no path of this length belongs to leaf *index* of *size*."""
    if not 0 <= index < size or len(path) != len(spans_of_path(index, size)):
        return None
    node, low, high = leaf_hash(leaf), index, index + 1
    for (start, end), beside in zip(spans_of_path(index, size), path, strict=True):
        node = node_hash(beside, node) if end == low else node_hash(node, beside)
        low, high = min(low, start), max(high, end)
    return node
