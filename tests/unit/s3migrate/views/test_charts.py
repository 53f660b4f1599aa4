"""Charts are well-formed, stay inside their frame, show gaps as gaps, and escape what they are given."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3migrate.views.charts import HEIGHT, WIDTH, Chart, Point, line_chart, share_bar

VALUES = st.lists(st.floats(0, 1e12, allow_nan=False), min_size=1, max_size=30)


def drawn(values: list[float], limit: list[float] | None = None, *, binary: bool = False) -> ET.Element:
    points = [Point(1000.0 + 10 * n, value) for n, value in enumerate(values)]
    bounds = [Point(1000.0 + 10 * n, value) for n, value in enumerate(limit or [])]
    return ET.fromstring(line_chart(Chart("c", "A <b> title", points, 10.0, lambda v: f"{v:.0f} <", bounds, binary)))


def corners(svg: ET.Element, name: str) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in found.attrib["points"].split())]
        for found in svg.iter()
        if found.attrib.get("class") == name
    ]


@given(VALUES, st.booleans())
def test_every_curve_stays_inside_its_frame(values: list[float], binary: bool) -> None:
    svg = drawn(values, [max(values) * 2], binary=binary)
    found = [corner for name in ("line", "limit") for run in corners(svg, name) for corner in run]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
    assert len(corners(svg, "line")[0]) == 2 * len(values)


def test_a_missing_step_is_a_gap() -> None:
    points = [Point(0.0, 1.0), Point(10.0, 1.0), Point(40.0, 1.0)]
    svg = ET.fromstring(line_chart(Chart("c", "t", points, 10.0, str)))
    assert [len(run) for run in corners(svg, "line")] == [4, 2]


def test_what_it_shows_is_told_in_words() -> None:
    svg = drawn([0.0, 10.0], [20.0, 20.0])
    title, desc = svg[0], svg[1]
    assert title.text == "A <b> title"
    assert desc.text is not None and "5 < on average, 10 < at most" in desc.text and "limit was 20 <" in desc.text
    assert svg.attrib["role"] == "img"
    assert not {name for found in svg.iter() for name in found.attrib} & {"style", "onload", "href"}


def test_nothing_recorded_is_a_sentence() -> None:
    assert line_chart(Chart("c", "a<b", [], 10.0, str)) == '<p class="empty">a&lt;b: nothing was recorded.</p>'


@pytest.mark.parametrize(("share", "width"), [(-1.0, "0.00"), (0.25, "25.00"), (7.0, "100.00")])
def test_a_bar_is_filled_as_far_as_it_should(share: float, width: str) -> None:
    assert f'width="{width}"' in share_bar(share, "a & b")
