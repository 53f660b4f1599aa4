"""RFC 6962: the roots of Certificate Transparency's test vectors, and paths that lead to them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.formats.merkle import EMPTY_ROOT, Accumulator, inclusion_path, root_from_path, spans_of_path

LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def root_of(leaves: list[bytes]) -> bytes:
    tree = Accumulator()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def recursive_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962, section 2.1, as it stands."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + recursive_root(leaves[:split]) + recursive_root(leaves[split:])).digest()


@pytest.mark.parametrize("count", range(1, 9))
def test_roots_are_those_of_the_published_vectors(count: int) -> None:
    assert root_of(LEAVES[:count]).hex() == ROOTS[count - 1]


def test_no_leaves_have_the_hash_of_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT == recursive_root([])


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70), st.data())
def test_a_path_leads_from_its_leaf_to_the_root_and_from_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    size, root = len(leaves), recursive_root(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(iter(leaves), index, size)

    assert root_of(leaves) == root
    assert root_from_path(leaves[index], index, size, path=path) == root
    assert root_from_path(leaves[index] + b"x", index, size, path=path) != root
    assert root_from_path(leaves[index], index, size, path=[*path, root]) is None
    if path:
        spoiled = [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]
        assert root_from_path(leaves[index], index, size, path=spoiled) != root
        assert root_from_path(leaves[index], index, size, path=path[:-1]) is None


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_a_leaf_outside_the_tree_has_no_path(index: int, size: int) -> None:
    with pytest.raises(IndexError):
        spans_of_path(index, size)
    assert root_from_path(b"", index, size, path=[]) is None


def test_a_path_over_fewer_leaves_than_promised_is_refused() -> None:
    with pytest.raises(ValueError, match="2 leaves, not 3"):
        inclusion_path([b"a", b"b"], 0, 3)
