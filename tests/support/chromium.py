"""A headless Chromium that draws pages and runs scripts in them, spoken to over its DevTools pipe.

with Chromium() as browser, browser.page("file:///x.html", Look(390, dark=True)) as page:
    page.picture(Path("x.png"))
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

DEADLINE = 120.0
"""Seconds a page may take to load, and Chromium to end."""


def chromium() -> str | None:
    """The program; None: it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Look(NamedTuple):
    """How a page is looked at."""

    width: int
    """CSS pixels."""
    dark: bool = False


class Page:
    """One open page."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    def tell(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a DevTools command."""
        return self._browser.tell(method, params, self._session)

    def load(self, url: str) -> None:
        """Open *url*, to its load event."""
        self.tell("Page.enable")
        self.tell("Page.navigate", url=url)
        self._browser.wait_for("Page.loadEventFired", self._session)

    def run(self, script: str) -> Any:
        """The value of *script*, awaited; the page's content policy does not bind it. Raises RuntimeError."""
        said = self.tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in said:
            raise RuntimeError(str(said["exceptionDetails"]))
        return said["result"].get("value")

    def picture(self, to: Path, *, height: int | None = None) -> None:
        """A PNG of the whole page, or of its first *height* pixels."""
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height or 1 << 20), "scale": 1}
        shot = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        to.write_bytes(base64.b64decode(shot["data"]))


class Chromium:
    """The browser, with a profile of its own that goes with it."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="s3migrate-chromium-", ignore_cleanup_errors=True)
        self._last = 0
        self._rest = b""
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        from_us, to_it = os.pipe()
        from_it, to_us = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
        flags += ["--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}"]
        command = [chromium() or "chromium", *flags, "about:blank"]
        # It reads descriptor 3 and writes 4; those numbers may be taken in this process.
        redirected = ["bash", "-c", f'exec "$@" 3<&{from_us} 4>&{to_us}', "chromium", *command]
        self._process = subprocess.Popen(
            redirected, pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(to_us)
        self._to, self._from = to_it, from_it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._to)  # and it ends
        os.close(self._from)
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    @contextmanager
    def page(self, url: str, look: Look) -> Iterator[Page]:
        """*url*, loaded, and seen as *look* says."""
        target = self.tell("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.tell("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, session)
        page.tell("Emulation.setDeviceMetricsOverride", width=look.width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if look.dark else "light"}
        page.tell("Emulation.setEmulatedMedia", features=[scheme])
        page.load(url)
        try:
            yield page
        finally:
            self.tell("Target.closeTarget", {"targetId": target})

    def tell(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """The answer to a DevTools command. Raises RuntimeError when Chromium refuses it or is gone."""
        self._last += 1
        number = self._last
        said = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(said).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self._events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait_for(self, event: str, session: str) -> None:
        """Until *event* has happened in *session*."""
        while not any(seen.get("method") == event and seen.get("sessionId") == session for seen in self._events):
            self._events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._from, 1 << 16)
            if not read:
                raise RuntimeError("Chromium is gone")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found
