"""A certificate holds against docs/verify_certificate.py, and nothing that was changed in it does."""

from __future__ import annotations

import ast
import base64
import gzip
import hashlib
import json
import runpy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schema.errors import CertificateCorrupt, InputMissing, KeyUnknown, UsageError
from schema.files.certificate import (
    CHECKPOINT,
    LEAVES,
    NOT_CERTIFIED,
    Arrival,
    EvidenceLevel,
    Leaf,
    NotCertified,
    checkpoint_of,
)
from schema.files.certificate_files import CertificateFolder, inclusions, read_note, trees_of
from schema.files.signed_note import signed

SCRIPT = Path(__file__).parents[4] / "docs" / "verify_certificate.py"
KEYS = ["", "a", "a b+c", 'q"{', "x\n", "é", "\U0001f600", "\udcff", *(f"k{n:02}" for n in range(6))][1:]


def leaf(key: str, **changes: Any) -> Leaf:
    etag = hashlib.md5(key.encode(errors="surrogatepass")).hexdigest()
    digest, evidence, arrival = "crc64nvme:AAAAAAAAAAA=", EvidenceLevel.LISTED, Arrival.COPIED
    made = Leaf(key, None, len(key), digest, None, evidence, etag, arrival, key, etag, None)
    return made._replace(**changes)


LEAVES_MADE = [leaf(key) for key in sorted(KEYS)]
OTHERS = [NotCertified("kept", "", "extraneous", "at the destination only"), NotCertified("z", "z", "excluded", "glob")]


def certificate(folder: Path, leaves: Iterable[Leaf] = LEAVES_MADE) -> Path:
    """The one tree of a new certificate."""
    with CertificateFolder(folder / "made") as made, made.tree("main") as tree:
        for record in (*leaves, *OTHERS):
            tree.add(record)
        tree.write_note(tree.finish("s3.example/bucket/@0123", ["level listed"]).text())
    return trees_of(folder / "made")[0]


def complaint(*words: Path | str) -> str | None:
    """What the script says; None: all is well."""
    before, sys.argv = sys.argv, ["verify_certificate.py", *map(str, words)]
    try:
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        sys.argv = before
    assert exit_.value.code is None or isinstance(exit_.value.code, str)
    return exit_.value.code


def listing(folder: Path, leaves: Iterable[Leaf], *, indent: int | None = 4) -> Path:
    """As `aws s3api list-objects-v2` prints it."""
    rows = [
        {"Key": found.key, "LastModified": "2026-11-30T00:00:00Z", "ETag": f'"{found.etag}"', "Size": found.size,
         "ChecksumAlgorithm": ["CRC64NVME"], "StorageClass": "STANDARD", "Owner": {"ID": "x"}}
        for found in leaves if found.key.isprintable() or found.key == "x\n"
    ]  # fmt: skip
    path = folder / "listing.json"
    path.write_text(json.dumps({"RequestCharged": None, "Contents": rows, "Prefix": "a{"}, indent=indent))
    return path


def lines(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines()


def test_the_script_is_short_and_needs_nothing() -> None:
    text = SCRIPT.read_text()
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name.partition(".")[0] for node in imports for alias in node.names}
    assert len(text.splitlines()) <= 60
    assert names <= sys.stdlib_module_names


def test_a_sound_certificate_holds(tmp_path: Path) -> None:
    assert complaint(certificate(tmp_path)) is None


def test_an_empty_one_holds(tmp_path: Path) -> None:
    assert complaint(certificate(tmp_path, [])) is None


def harmed(which: bytes, number: int) -> Callable[[list[bytes]], list[bytes]]:
    return {
        b"flip": lambda rows: [*rows[:number], bytes([rows[number][0], rows[number][1], *rows[number][2:]]).replace(
            b'"size":', b'"size":1'), *rows[number + 1 :]],
        b"drop": lambda rows: rows[:number] + rows[number + 1 :],
        b"add": lambda rows: [*rows[:number], rows[number], *rows[number:]],
        b"swap": lambda rows: [*rows[:number], *rows[number : number + 2][::-1], *rows[number + 2 :]],
    }[which]  # fmt: skip


@pytest.mark.parametrize("which", [b"flip", b"drop", b"add", b"swap"])
@pytest.mark.parametrize("number", [0, 5, len(LEAVES_MADE) - 2])
def test_any_other_leaves_are_noticed(tmp_path: Path, which: bytes, number: int) -> None:
    tree = certificate(tmp_path)
    rows = harmed(which, number)(lines(tree / LEAVES))
    assert rows != lines(tree / LEAVES)
    (tree / LEAVES).write_bytes(gzip.compress(b"".join(row + b"\n" for row in rows)))

    assert "leaves is not what the checkpoint says" in (complaint(tree) or "")
    with pytest.raises(CertificateCorrupt):
        inclusions(tree, "a")


def test_what_is_not_certified_is_under_the_checkpoint_too(tmp_path: Path) -> None:
    tree = certificate(tmp_path)
    (tree / NOT_CERTIFIED).write_bytes(gzip.compress(lines(tree / NOT_CERTIFIED)[0] + b"\n"))

    assert "not-certified is not what the checkpoint says" in (complaint(tree) or "")


PLAIN = [leaf(key) for key in sorted(KEYS) if key != "\udcff"]
"""A listing that is JSON cannot hold what is no UTF-8."""


@pytest.mark.parametrize("indent", [4, None])
def test_the_buckets_own_listing_agrees(tmp_path: Path, indent: int | None) -> None:
    tree = certificate(tmp_path, PLAIN)
    there = [*PLAIN, leaf("kept", etag="other")]  # a key that is told not to be certified

    assert complaint(tree, listing(tmp_path, there, indent=indent)) is None


def test_it_agrees_in_parts(tmp_path: Path) -> None:
    tree = certificate(tmp_path, PLAIN)
    one = listing(tmp_path, PLAIN[:3]).rename(tmp_path / "one.json")

    assert complaint(tree, one, listing(tmp_path, PLAIN[3:])) is None


@pytest.mark.parametrize(
    ("there", "word"),
    [
        (PLAIN[1:], "in leaves, and not so in listed: (b'a', 1,"),
        ([*PLAIN, leaf("extra")], "and not so in leaves: (b'extra', 5,"),
        ([PLAIN[0]._replace(etag="e"), *PLAIN[1:]], "'e'"),
        ([PLAIN[0]._replace(size=77), *PLAIN[1:]], "77"),
    ],
)
def test_a_bucket_that_holds_something_else_is_told(tmp_path: Path, there: list[Leaf], word: str) -> None:
    assert word in (complaint(certificate(tmp_path, PLAIN), listing(tmp_path, there)) or "")


def test_versions_are_compared_where_the_listing_tells_them(tmp_path: Path) -> None:
    made = [leaf("a", version="1"), leaf("a", version="2"), leaf("b", version="3")]
    tree = certificate(tmp_path, made)
    rows = [{"Key": n.key, "VersionId": n.version, "ETag": f'"{n.etag}"', "Size": n.size} for n in made]
    path = tmp_path / "versions.json"
    path.write_text(json.dumps({"Versions": rows, "DeleteMarkers": []}))
    assert complaint(tree, path) is None

    path.write_text(json.dumps({"Versions": rows[1:], "DeleteMarkers": []}))
    assert "b'a'" in (complaint(tree, path) or "")


def test_an_inventory_will_do(tmp_path: Path) -> None:
    tree = certificate(tmp_path, PLAIN)
    rows = [f'"bucket","{quote_plus(n.key)}","{n.size}","{n.etag}"' for n in PLAIN]
    path = tmp_path / "inventory.csv.gz"
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    assert complaint(tree, f"{path}=Bucket, Key, Size, ETag") is None

    path.write_bytes(gzip.compress("\n".join(rows[1:]).encode()))
    assert "b'a'" in (complaint(tree, f"{path}=Bucket, Key, Size, ETag") or "")


def test_each_leaf_has_a_proof(tmp_path: Path) -> None:
    tree = certificate(tmp_path)
    proof = tmp_path / "key.tlog-proof"
    for number, made in enumerate(LEAVES_MADE):
        (found,) = inclusions(tree, made.key)
        assert found.place == number
        proof.write_text(found.text(read_note(tree)))
        assert complaint(proof, tree / CHECKPOINT) is None


def test_a_proof_of_something_else_is_none(tmp_path: Path) -> None:
    tree = certificate(tmp_path)
    text = inclusions(tree, "k03")[0].text(read_note(tree))
    head, extra, index, *path = text.split("\n\n")[0].split("\n")
    changed = base64.b64decode(extra.split()[1]).replace(b'"size":3', b'"size":4')
    spoiled = [
        [head, f"extra {base64.b64encode(changed).decode()}", index, *path],
        [head, extra, "index 2", *path],
        [head, extra, "index 999999", *path],
        [head, extra, index, *path[:-1]],
        [head, extra, index, *path, path[0]],
        [head, extra, index, path[0][::-1] if path[0][::-1] != path[0] else path[1], *path[1:]],
    ]
    proof = tmp_path / "key.tlog-proof"
    for rows in spoiled[:5]:
        proof.write_text("\n".join(rows) + "\n\n" + read_note(tree))
        assert "not in the tree" in (complaint(proof, tree / CHECKPOINT) or "")


def test_a_key_that_is_no_leaf_has_no_proof(tmp_path: Path) -> None:
    with pytest.raises(KeyUnknown, match="k99 is no leaf"):
        inclusions(certificate(tmp_path), "k99")


def test_the_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = checkpoint_of(read_note(certificate(tmp_path)))
    assert (found.origin, found.size) == ("s3.example/bucket/@0123", len(LEAVES_MADE))
    assert found.facts[0] == "level listed"
    with pytest.raises(CertificateCorrupt):
        checkpoint_of("no\ncheckpoint\n")


def test_nothing_is_left_of_a_certificate_that_failed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), CertificateFolder(tmp_path / "made") as made, made.tree("main") as tree:
        tree.add(LEAVES_MADE[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    certificate(tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        certificate(tmp_path)
    with pytest.raises(InputMissing):
        trees_of(tmp_path / "elsewhere")


def test_a_signature_is_that_of_a_signed_note(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    text = read_note(certificate(tmp_path))

    note, public = signed(text, "s3.example/bucket", path)

    body, line = note.split("\n\n")
    dash, name, signature = line.rstrip("\n").split(" ")
    key_name, key_id, public_text = public.rstrip("\n").split("+", 2)
    raw, told = base64.b64decode(signature), base64.b64decode(public_text)
    assert (body + "\n", dash, name, key_name) == (text, "\u2014", "s3.example/bucket", "s3.example/bucket")
    assert raw[:4].hex() == key_id == hashlib.sha256(b"s3.example/bucket\n" + told).hexdigest()[:8]
    assert told[0] == 1
    Ed25519PublicKey.from_public_bytes(told[1:]).verify(raw[4:], text.encode())
    assert checkpoint_of(note) == checkpoint_of(text)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("no key")
    with pytest.raises(UsageError, match="openssl genpkey"):
        signed("", "name", path)
    with pytest.raises(InputMissing):
        signed("", "name", tmp_path / "none.pem")
