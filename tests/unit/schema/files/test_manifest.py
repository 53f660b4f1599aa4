"""Manifests: the canonical line, the writer, and a reader that believes nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schema.errors import LocalDiskError, ManifestCorrupt, ManifestMissing
from schema.files import manifest, manifest_lines
from schema.files.manifest import ManifestFolder, ManifestSummary, ManifestWriter, read_entries, verify_manifest
from schema.files.manifest_lines import encode, encode_run
from schema.plan import Action, Entry

TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from('"\\\n\r\t\x00\x1f\x7f\x85\x9f\u2028\u2029\u202e\ufeff\U0001f600/'),
        st.integers(0xDC80, 0xDCFF).map(chr),
    ),
    max_size=20,
)
ENTRIES = st.builds(
    Entry,
    key=TEXT.filter(bool),
    size=st.integers(0, 50 * 2**40),
    etag=TEXT,
    action=st.sampled_from(Action),
    modified_ms=st.integers(-(2**40), 2**42),
    destination_key=st.none() | TEXT,
    destination_etag=st.none() | TEXT,
    version_id=st.none() | TEXT,
    storage_class=TEXT,
    reason=TEXT,
)
SIMPLE = Entry("a/b", 7, "etag", Action.COPY, 1000)


def write(folder: Path, entries: list[Entry]) -> tuple[ManifestFolder, ManifestSummary]:
    """A store that holds the manifest of *entries*."""
    store = ManifestFolder(folder)
    with ManifestWriter(folder) as writer:
        for entry in entries:
            writer.add(entry)
        return store, writer.finish(store)


def check(store: ManifestFolder, summary: ManifestSummary) -> None:
    """verify_manifest with what the writer said."""
    keys = (summary.first_key, summary.last_key)
    verify_manifest(store, summary.digest, objects=summary.objects, bytes=summary.bytes, keys=keys)


@given(ENTRIES)
def test_a_line_gives_its_entry_back(entry: Entry) -> None:
    assert manifest_lines.decode(manifest_lines.encode(entry)) == entry


@given(st.lists(ENTRIES, min_size=1, max_size=6), ENTRIES)
def test_a_run_is_the_lines_of_its_entries(entries: list[Entry], shared: Entry) -> None:
    """Whether most fields are the same in all of them, or not."""
    alike = shared._replace(storage_class="STANDARD", destination_key=None, version_id=None)
    skipped = [
        alike._replace(key=each.key, size=each.size, etag=each.etag, destination_etag=each.etag) for each in entries
    ]
    for run in (entries, skipped):
        assert encode_run(run) == b"".join(map(encode, run))


def test_a_run_with_a_negative_size_or_a_surrogate_pair_is_refused_as_one_line_is() -> None:
    good = Entry("a", 1, "e", Action.SKIP, 1, None, "e", reason="same")
    for bad in (good._replace(size=-1), good._replace(key="\ud83d\ude00")):
        with pytest.raises(ValueError, match=r"negative|surrogate"):
            encode_run([good, bad])


def test_runs_and_single_entries_make_one_manifest(tmp_path: Path) -> None:
    entries = [Entry(f"{n:04d}", n, f"{n}", Action.SKIP, 1, None, f"{n}", reason="same") for n in range(3_000)]
    _, one_by_one = write(tmp_path / "a", entries)
    store = ManifestFolder(tmp_path / "b")
    with ManifestWriter(tmp_path / "b") as writer:
        writer.add_run(entries[:1_000])
        writer.add(entries[1_000])
        writer.add_run(entries[1_001:])
        summary = writer.finish(store)

    assert summary == one_by_one
    with ManifestWriter(tmp_path / "c") as writer, pytest.raises(ValueError, match="ascends"):
        writer.add_run([entries[1], entries[0]])


@given(ENTRIES)
def test_a_line_is_one_line_to_every_reader(entry: Entry) -> None:
    line = manifest_lines.encode(entry).decode("utf-8")

    assert len(line.splitlines()) == 1
    assert line.endswith("\n")
    assert json.loads(line)["key"] == entry.key


def test_fields_stand_in_fixed_order_and_defaults_are_left_out() -> None:
    full = Entry("k", 1, "e", Action.OVERWRITE, 2, "d", "de", "v", "GLACIER", "because")

    assert manifest_lines.encode(SIMPLE) == b'{"key":"a/b","size":7,"etag":"etag","act":"copy","mtime":1000}\n'
    assert list(json.loads(manifest_lines.encode(full))) == [
        *("key", "size", "etag", "act", "mtime", "dst", "dst_etag", "version", "class", "reason")
    ]


def test_a_surrogate_pair_is_refused_because_json_would_join_it() -> None:
    with pytest.raises(ValueError, match="surrogate pair"):
        manifest_lines.encode(SIMPLE._replace(key="\ud83d\ude00"))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"", "not JSON"),
        (b"[]\n", "not one JSON object"),
        (b'"a"\n', "not one JSON object"),
        (b"\xff\n", "not JSON"),
        (b"[" * 5000 + b"\n", "not JSON"),
        (b'{"key":"a","size":1,"etag":"e","act":"copy","mtime":1} \n', "not one JSON object"),
        (b'{"key":"a","size":1,"etag":"e","act":"copy","mtime":1}{}\n', "not one JSON object"),
        (b'{"key":"a","size":1,"etag":"e","act":"copy","mtime":1,"x":"y"}\n', "unknown field 'x'"),
        (b'{"key":"a","size":1,"etag":"e","act":"copy"}\n', "lacks the field 'mtime'"),
        (b'{"key":"a","size":"1","etag":"e","act":"copy","mtime":1}\n', "'size' of the wrong type"),
        (b'{"key":"a","size":true,"etag":"e","act":"copy","mtime":1}\n', "'size' of the wrong type"),
        (b'{"key":"a","size":1.0,"etag":"e","act":"copy","mtime":1}\n', "'size' of the wrong type"),
        (b'{"key":"a","size":1,"etag":null,"act":"copy","mtime":1}\n', "'etag' of the wrong type"),
        (b'{"key":"a","size":1,"etag":"e","act":[],"mtime":1}\n', "'act' of the wrong type"),
        (b'{"key":"a","size":1,"etag":"e","act":"move","mtime":1}\n', "unknown action 'move'"),
        (b'{"key":"a","size":1,"etag":"e","act":"copy","mtime":1,"dst":null}\n', "'dst' of the wrong type"),
        (b'{"key":"","size":1,"etag":"e","act":"copy","mtime":1}\n', "empty key"),
        (b'{"key":"a","size":-1,"etag":"e","act":"copy","mtime":1}\n', "negative size"),
        (b'{"key":"a","size":' + b"9" * 5000 + b',"etag":"e","act":"copy","mtime":1}\n', "not JSON"),
    ],
)
def test_a_line_of_another_making_is_refused_by_number(line: bytes, what: str) -> None:
    with pytest.raises(ManifestCorrupt, match="line 17") as error:
        manifest_lines.decode(line, 17)
    assert what in str(error.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(ENTRIES, unique_by=lambda entry: entry.key, max_size=30))
def test_what_is_written_is_read_and_verifies(tmp_path: Path, entries: list[Entry]) -> None:
    entries.sort()

    store, summary = write(tmp_path / "m", entries)

    assert list(read_entries(store, summary.digest)) == list(enumerate(entries))
    assert (summary.objects, summary.bytes) == (len(entries), sum(entry.size for entry in entries))
    assert summary.digest == "sha256:" + hashlib.sha256(b"".join(map(manifest_lines.encode, entries))).hexdigest()
    check(store, summary)


def test_the_same_entries_are_the_same_file_and_are_written_once(tmp_path: Path) -> None:
    store, first = write(tmp_path / "m", [SIMPLE])
    path = store.path_of(first.digest)
    before = (path.read_bytes(), path.stat().st_ino)

    _, second = write(tmp_path / "m", [SIMPLE])
    write(tmp_path / "other", [SIMPLE])

    assert second == first
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert (tmp_path / "other" / path.name).read_bytes() == before[0]
    assert path.read_bytes()[3:8] == bytes(5), "no name and no time in the gzip header"
    assert list((tmp_path / "m").iterdir()) == [path]


def test_planning_again_mends_a_damaged_manifest(tmp_path: Path) -> None:
    store, summary = write(tmp_path, [SIMPLE])
    store.path_of(summary.digest).write_bytes(b"damaged")

    write(tmp_path, [SIMPLE])

    check(store, summary)


def test_a_slice_is_the_lines_from_lo_to_hi(tmp_path: Path) -> None:
    entries = [SIMPLE._replace(key=f"{number:05}") for number in range(5000)]
    store, summary = write(tmp_path, entries)

    assert list(read_entries(store, summary.digest, lo=4998)) == [(4998, entries[4998]), (4999, entries[4999])]
    assert list(read_entries(store, summary.digest, lo=10, hi=12)) == [(10, entries[10]), (11, entries[11])]
    assert list(read_entries(store, summary.digest, lo=10, hi=10)) == []
    with pytest.raises(ManifestCorrupt, match="ends after 5,000 lines; line 5,001"):
        list(read_entries(store, summary.digest, lo=4999, hi=5001))


@pytest.mark.parametrize("wrong", [SIMPLE, SIMPLE._replace(key="a"), SIMPLE._replace(version_id="1")])
def test_disorder_is_the_writers_fault(tmp_path: Path, wrong: Entry) -> None:
    with ManifestWriter(tmp_path) as writer:
        writer.add(SIMPLE)
        with pytest.raises(ValueError, match="ascends by key"):
            writer.add(wrong)
    assert list(tmp_path.iterdir()) == []


def test_versions_of_one_key_stand_together(tmp_path: Path) -> None:
    entries = [SIMPLE._replace(version_id="2", modified_ms=5), SIMPLE._replace(version_id="1", modified_ms=4)]

    store, summary = write(tmp_path, entries)

    check(store, summary)
    assert [entry for _, entry in read_entries(store, summary.digest)] == entries


def test_leaving_early_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), ManifestWriter(tmp_path) as writer:
        writer.add(SIMPLE)
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with ManifestWriter(tmp_path) as writer:
        writer.add(SIMPLE)
        with pytest.raises(LocalDiskError, match="No space left on device"):
            writer.finish(ManifestFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalDiskError, match="file"):
        ManifestWriter(tmp_path / "file" / "m")


def test_publishing_across_file_systems_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rename(2) says EXDEV; the copy under another name takes its place."""
    real = Path.replace

    def other_device(self: Path, target: Path) -> Path:
        if self.parent != target.parent:
            raise OSError(18, "Invalid cross-device link")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", other_device)
    store = ManifestFolder(tmp_path / "store")
    with ManifestWriter(tmp_path / "staging") as writer:
        writer.add(SIMPLE)
        summary = writer.finish(store)

    check(store, summary)
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_missing_manifest_names_digest_place_and_way_out(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    with pytest.raises(ManifestMissing) as error:
        list(read_entries(ManifestFolder(tmp_path), digest))
    assert digest in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "plan again" in str(error.value)
    assert not ManifestFolder(tmp_path).has(digest)


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", "sha256:" + "A" * 64, "sha256:" + "0" * 64 + "\n", "0" * 64]
)
def test_what_is_no_digest_never_becomes_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ManifestCorrupt, match="not a manifest digest"):
        ManifestFolder(tmp_path).open(digest)


def test_a_link_in_a_manifests_place_is_not_followed(tmp_path: Path) -> None:
    store, summary = write(tmp_path / "real", [SIMPLE])
    other = ManifestFolder(tmp_path / "links")
    other.root.mkdir()
    other.path_of(summary.digest).symlink_to(store.path_of(summary.digest))

    with pytest.raises(ManifestCorrupt, match="symbolic link"):
        other.open(summary.digest)
    assert not other.has(summary.digest)


def test_a_pipe_in_a_manifests_place_does_not_hang(tmp_path: Path) -> None:
    store = ManifestFolder(tmp_path)
    os.mkfifo(store.path_of("sha256:" + "0" * 64))
    with pytest.raises(ManifestCorrupt, match="not a plain file"):
        store.open("sha256:" + "0" * 64)


def doctored(folder: Path, raw: bytes) -> tuple[ManifestFolder, str]:
    """A store in which *raw* stands as the file of some digest."""
    store = ManifestFolder(folder)
    digest = "sha256:" + "0" * 64
    store.path_of(digest).write_bytes(raw)
    return store, digest


LINES = b"".join(manifest_lines.encode(SIMPLE._replace(key=f"{number}")) for number in range(9))


def zipped(lines: bytes) -> bytes:
    """The same bytes at any time of day: they are in the names of tests, which every worker must call alike."""
    return gzip.compress(lines, mtime=0)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "cut short"),
        (b"plain text", "not the gzip file"),
        (zipped(LINES)[:-1], "cut short"),
        (zipped(LINES)[:40], "cut short"),
        (zipped(LINES) + b"x", "bytes after its end"),
        (zipped(LINES) + zipped(LINES), "bytes after its end"),
        (zipped(LINES)[:-5] + b"\0" + zipped(LINES)[-4:], "not the gzip file"),
        (zipped(LINES[:-1]), "middle of a line"),
        (zipped(b"\n"), "line 1 is not JSON"),
        (zipped(b"x" * (manifest.MAX_LINE + 1) + b"\n"), "a line of more than"),
        (zipped(b"x" * 5_000_000), "a line of more than"),
    ],
)
def test_a_doctored_file_is_refused_by_digest(tmp_path: Path, raw: bytes, what: str) -> None:
    store, digest = doctored(tmp_path, raw)
    with pytest.raises(ManifestCorrupt, match=what) as error:
        list(read_entries(store, digest))
    assert digest in str(error.value)
    with pytest.raises(ManifestCorrupt):
        verify_manifest(store, digest, objects=9, bytes=63, keys=None)


def test_a_bomb_is_given_up_after_some_blocks(tmp_path: Path) -> None:
    """Two gigabytes of lines in two megabytes of gzip: reading stops at the first line too many."""
    packer = zlib.compressobj(9, wbits=31)
    store, digest = doctored(tmp_path, b"".join(packer.compress(LINES * 10_000) for _ in range(20)) + packer.flush())
    with pytest.raises(ManifestCorrupt, match=r"out of order|more lines"):
        verify_manifest(store, digest, objects=9, bytes=63, keys=None)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"objects": 8}, "more lines than the 8"),
        ({"objects": 10}, "9 lines, the plan says 10"),
        ({"bytes": 64}, "sums to 63 bytes, the plan says 64"),
        ({"keys": ("0", "7")}, "goes from '0' to '8'"),
        ({"keys": ("1", "8")}, "goes from '0' to '8'"),
    ],
)
def test_verify_says_what_differs_from_the_plan(tmp_path: Path, changes: dict[str, object], what: str) -> None:
    store, summary = write(tmp_path, [SIMPLE._replace(key=f"{number}") for number in range(9)])
    said: dict[str, object] = {"objects": 9, "bytes": 63, "keys": ("0", "8")}
    check(store, summary)

    with pytest.raises(ManifestCorrupt, match=what):
        verify_manifest(store, summary.digest, **(said | changes))  # type: ignore[arg-type]


def test_verify_notices_one_changed_byte(tmp_path: Path) -> None:
    store, summary = write(tmp_path, [SIMPLE])
    path = store.path_of(summary.digest)
    path.write_bytes(
        gzip.compress(gzip.decompress(path.read_bytes()).replace(b'"etag"}', b'"etag"}').replace(b"1000", b"1001"))
    )

    with pytest.raises(ManifestCorrupt, match="holds other bytes"):
        check(store, summary)


def test_verify_notices_disorder(tmp_path: Path) -> None:
    lines = manifest_lines.encode(SIMPLE._replace(key="b")) + manifest_lines.encode(SIMPLE)
    store = ManifestFolder(tmp_path)
    digest = "sha256:" + hashlib.sha256(lines).hexdigest()
    store.path_of(digest).write_bytes(gzip.compress(lines))
    with pytest.raises(ManifestCorrupt, match="line 2 is out of order"):
        verify_manifest(store, digest, objects=2, bytes=14, keys=None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(gzip.compress), st.binary(max_size=60)))
def test_whatever_the_bytes_only_our_errors_come_out(tmp_path: Path, raw: bytes) -> None:
    store, digest = doctored(tmp_path, raw)
    for _ in range(2):
        try:
            list(read_entries(store, digest))
            verify_manifest(store, digest, objects=1, bytes=1, keys=None)
        except ManifestCorrupt:
            pass
        at = len(LINES) // 2
        store.path_of(digest).write_bytes(gzip.compress(LINES[:at] + raw + LINES[at:]))
