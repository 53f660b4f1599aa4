"""What a declaration expects is held against the plan, in words that say what is wrong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from support.planning import MemoryManifests, declare, listed, plan

from schema.declaration import Expect, ExpectedRange, Filters, Side
from schema.errors import Unexpected
from schema.exit_codes import ExitCode
from schema.files.declaration_file import parse_declaration

SOURCE = [listed(f"k{n}", 1000, modified=2) for n in range(10)]
AWS = {"source": Side("a"), "destination": Side("b")}


def made(tmp_path: Path, expect: Expect, there: int = 0, **more):
    declaration = declare(expect=expect, **more)
    return plan(declaration, SOURCE, SOURCE[:there], manifests=MemoryManifests(), staging=tmp_path)


@pytest.mark.parametrize("there", [0, 10])
def test_what_is_there_already_counts(there: int, tmp_path: Path) -> None:
    made(tmp_path, Expect(ExpectedRange(10, 10), ExpectedRange(9_500, 10_000), max_duration=2), there)
    with pytest.raises(Unexpected, match=r"10 objects take part, and expect.objects is 11 to 12"):
        made(tmp_path, Expect(objects=ExpectedRange(11, 12)), there)


def test_what_filters_leave_out_does_not(tmp_path: Path) -> None:
    made(tmp_path, Expect(objects=ExpectedRange(9, 9)), filters=Filters(exclude=("k3",)))


def test_everything_unexpected_is_named_at_once(tmp_path: Path) -> None:
    expect = Expect(ExpectedRange(1, 1), ExpectedRange(1, 1), Decimal(0), 0)
    with pytest.raises(Unexpected) as caught:
        made(tmp_path, expect)
    for words in ("10 objects take part", "9.7 KiB take part", "is not known", "it will take about 1.0 s"):
        assert words in str(caught.value)
    assert caught.value.exit_code is ExitCode.NOT_APPROVED


def test_a_cost_within_bounds_passes_and_above_them_not(tmp_path: Path) -> None:
    made(tmp_path, Expect(max_cost_usd=Decimal("0.01")), **AWS)
    made(tmp_path, Expect(max_cost_usd=Decimal(0)), 10, **AWS)
    with pytest.raises(Unexpected, match=r"it will cost about \S+ USD, and expect.max_cost_usd is -1"):
        made(tmp_path, Expect(max_cost_usd=Decimal(-1)), **AWS)


HEAD = "apiVersion: s3migrate/v1\nkind: Migration\nname: x\nsource: {bucket: aaa}\ndestination: {bucket: bbb}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("expect: {objects: 1.2M ± 5%}", Expect(objects=ExpectedRange(1_140_000, 1_260_000))),
        ("expect: {objects: 10 +- 15 %}", Expect(objects=ExpectedRange(9, 11))),
        ("expect: {objects: '1,000', bytes: 4KiB}", Expect(ExpectedRange(1000, 1000), ExpectedRange(4096, 4096))),
        ("expect: {bytes: 1 MB ± 0.1%}", Expect(bytes=ExpectedRange(999_000, 1_001_000))),
        ("expect: {max_cost_usd: '900.50', max_duration: 8h}", Expect(None, None, Decimal("900.50"), 28_800)),
        ("expect:", Expect()),
    ],
)
def test_it_is_declared_as_people_write(text: str, expected: Expect) -> None:
    assert parse_declaration((HEAD + text).encode(), "m.yaml").expect == expected


@pytest.mark.parametrize("text", ["objects: many", "objects: 5 ± 200%", "bytes: 5 ± x", "max_cost_usd: -1", "other: 1"])
def test_anything_else_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(Exception, match=r"m.yaml:6: expect"):
        parse_declaration(f"{HEAD}expect: {{{text}}}".encode(), "m.yaml")
