"""axe-core in a headless Chromium, where both are installed (apt-get install chromium; npm install axe-core)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chromium import Chromium, Look, chromium
from support.pages import axe_script, complaints, write_pages

from executor.ledger.ledger import Ledger

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
    pytest.mark.skipif(axe_script() is None, reason="axe-core is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


def test_no_page_has_what_keeps_somebody_out(ledger_url: str, browser: Chromium, tmp_path: Path) -> None:
    ledger, axe = Ledger(ledger_url), axe_script()
    assert axe is not None
    ledger.schema.migrate()
    try:
        pages = write_pages(ledger, 40, tmp_path)
    finally:
        ledger.close()
    found = []
    for path in pages:
        for look in (Look(1280), Look(1280, dark=True), Look(390)):
            with browser.page(path.as_uri(), look) as page:
                found += [f"{path.stem}, {look}: {complaint}" for complaint in complaints(page, axe)]

    assert found == []


def test_a_picture_without_words_would_be_found(browser: Chromium, tmp_path: Path) -> None:
    axe = axe_script()
    assert axe is not None
    (tmp_path / "bad.html").write_text("<!doctype html><html lang=en><title>x</title><img src='x.png'>")
    with browser.page((tmp_path / "bad.html").as_uri(), Look(1280)) as page:
        assert any("image-alt" in complaint for complaint in complaints(page, axe))
