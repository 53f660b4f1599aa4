"""Shares and batches as inline SVG: no script, no style attributes, readable by a screen reader. Pure.

Colours come from classes of page.css, for light and dark pages and because the page's policy allows no other style.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH = 600


class Part(NamedTuple):
    """One part of a whole."""

    name: str
    share: float
    """0..1."""


def parts_bar(parts: Sequence[Part]) -> Markup:
    """Shares of a whole side by side; the legend beside it names them."""
    rects, x = [], 0.0
    for n, part in enumerate(parts):
        width = WIDTH * part.share
        rects.append(Markup('<rect class="part{}" x="{:.1f}" y="0" width="{:.1f}" height="18"/>').format(n, x, width))
        x += width
    label = ", ".join(f"{part.name} {100 * part.share:.0f} %" for part in parts)
    return Markup('<svg class="shares" viewBox="0 0 {} 18" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, label, Markup("").join(rects)
    )


def heat_map(cells: Sequence[tuple[float, bool]]) -> Markup:
    """One cell per (share done, whether anything failed), in order."""
    each = 40
    rows = -(-len(cells) // each) or 1
    rects = [
        Markup('<rect class="{}" fill-opacity="{:.2f}" x="{}" y="{}" width="9" height="9"/>').format(
            "failed" if failed else "done", 1.0 if failed else 0.12 + 0.88 * share, n % each * 10, n // each * 10
        )
        for n, (share, failed) in enumerate(cells)
    ]
    done = sum(share for share, _ in cells) / len(cells) if cells else 0.0
    label = f"Batches in the plan's order: {100 * done:.0f} % done, {sum(bad for _, bad in cells)} cells with failures"
    return Markup('<svg class="heat" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        each * 10, rows * 10, label, Markup("").join(rects)
    )
