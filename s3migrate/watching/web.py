"""`status --serve`: a read-only WSGI application that shows all runs of the ledger.

Actions stay with the command line: there is no form, no script and no state. At a loopback address anybody on the
machine may read it; any other address demands a token. Without a token the Host header is checked, so that no foreign
page can read this one by pointing its own name at 127.0.0.1 (DNS rebinding). With a token it is not: a foreign page has
neither token nor cookie, and behind a tunnel or a proxy this server has names it cannot know.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from executor.ledger.ledger import Ledger
from executor.ledger.values import ENDED, Run
from s3migrate.views.page import style_hash
from s3migrate.watching.address import Address
from s3migrate.watching.run_metrics import RunCollector
from s3migrate.watching.run_page import run_json, run_page, runs_page
from s3migrate.watching.snapshot import RunSnapshot, snapshot_of
from schema.errors import LedgerError
from schema.formats.escape import one_line

FRESH_SECONDS = 1.0
"""A run is read from the ledger at most once in this time, however many readers there are."""
REFRESH_SECONDS = 5
MOST_ENDED = 20
"""Runs that have ended and are still in /metrics: the latest ones."""
COOKIE = "s3migrate"
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::[0-9]{1,5})?")
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class PageAnswer(NamedTuple):
    """An HTTP response."""

    status: HTTPStatus
    kind: str
    body: bytes
    more: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class RunReader:
    """Reads runs, each at most once in FRESH_SECONDS. Safe for several threads."""

    ledger: Ledger
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _read: dict[int, tuple[float, RunSnapshot]] = field(default_factory=dict)

    def runs(self) -> list[Run]:
        """All, newest first."""
        return self.ledger.runs.all()

    def snapshot(self, run_id: int | None) -> RunSnapshot | None:
        """The state of a run (None: the latest); None if there is no such run."""
        runs = {run.run_id: run for run in self.runs()}
        run = runs.get(max(runs, default=0) if run_id is None else run_id)
        return None if run is None else self._of(run)

    def watched(self) -> list[RunSnapshot]:
        """Every run that has not ended, and the latest ones that have."""
        runs = self.runs()
        ended = [run for run in runs if run.state in ENDED][:MOST_ENDED]
        return [self._of(run) for run in runs if run.state not in ENDED or run in ended]

    def _of(self, run: Run) -> RunSnapshot:
        with self._lock:
            read_at, found = self._read.get(run.run_id, (float("-inf"), None))
            if found is None or self.clock() - read_at >= FRESH_SECONDS:
                found = snapshot_of(self.ledger, run)
                self._read[run.run_id] = self.clock(), found
            return found


@dataclass(frozen=True, slots=True)
class Watching:
    """The WSGI application. *token* is demanded; None: the address is a loopback one."""

    reader: RunReader
    address: Address
    token: str | None

    def __call__(
        self, environ: Mapping[str, Any], start: Callable[[str, list[tuple[str, str]]], object]
    ) -> Iterable[bytes]:
        """WSGI."""
        answer = self._answer(environ)
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body
        headers = [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body))), *HEADERS, *answer.more]
        headers.append(("Content-Security-Policy", _policy()))
        start(f"{answer.status.value} {answer.status.phrase}", headers)
        return [body]

    def _answer(self, environ: Mapping[str, Any]) -> PageAnswer:
        if self.token is None and not self._host_is_ours(str(environ.get("HTTP_HOST", ""))):
            return _text(HTTPStatus.MISDIRECTED_REQUEST, "This address is not served here.")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text(
                HTTPStatus.METHOD_NOT_ALLOWED, "This page is read-only; use the command line.", ("Allow", "GET")
            )
        path = str(environ.get("PATH_INFO", ""))
        given = parse_qs(str(environ.get("QUERY_STRING", ""))).get("token", [""])[0]
        if self.token is not None and not self._may_look(environ, given):
            return _text(
                HTTPStatus.UNAUTHORIZED, "Add ?token=... as `status --serve` printed it, or send it as a Bearer token."
            )
        if given and self.token is not None:
            cookie = f"{COOKIE}={quote(self.token, safe='')}; HttpOnly; SameSite=Strict; Path=/"
            return _text(HTTPStatus.SEE_OTHER, "", ("Location", _safe(path)), ("Set-Cookie", cookie))
        try:
            return self._page(path)
        except LedgerError as error:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, one_line(str(error)), ("Retry-After", str(REFRESH_SECONDS)))

    def _page(self, path: str) -> PageAnswer:
        if path == "/":
            return _html(runs_page(self.reader.runs()))
        if path == "/metrics":
            registry = CollectorRegistry()
            registry.register(RunCollector(self.reader.watched()))
            return PageAnswer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
        name, _, word = path.removeprefix("/run/").partition("/")
        wanted = (
            int(name) if path.startswith("/run/") and name.isascii() and name.isdigit() and len(name) < 10 else None
        )
        if (wanted is None and path != "/run.json") or (wanted is not None and word not in ("", "run.json")):
            return _text(HTTPStatus.NOT_FOUND, "There is no such page; / lists the runs.")
        snapshot = self.reader.snapshot(wanted)
        if snapshot is None:
            return _text(HTTPStatus.NOT_FOUND, "There is no such run; / lists them.")
        if path.endswith(".json"):
            return PageAnswer(HTTPStatus.OK, "application/json", json.dumps(run_json(snapshot)).encode())
        return _html(run_page(snapshot), refresh=not snapshot.ended)

    def _host_is_ours(self, host: str) -> bool:
        """Whether *host* is a loopback name or the bound address, at any port: that of a tunnel may differ."""
        found = _HOST.fullmatch(host.lower())
        return found is not None and (found[1] or found[2]) in LOOPBACK_NAMES | {self.address.host.lower()}

    def _may_look(self, environ: Mapping[str, Any], given: str) -> bool:
        word, _, bearer = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        try:
            cookie = SimpleCookie(str(environ.get("HTTP_COOKIE", ""))).get(COOKIE)
        except CookieError:
            cookie = None
        shown = [given, bearer if word.lower() == "bearer" else "", unquote(cookie.value) if cookie else ""]
        wanted = (self.token or "").encode()
        return any(hmac.compare_digest(each.encode("utf-8", "replace"), wanted) for each in shown)


def _policy() -> str:
    """Nothing may be loaded, run, sent or framed; the pages' one style is allowed by its hash."""
    return (
        f"default-src 'none'; style-src '{style_hash()}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _safe(path: str) -> str:
    """*path* on this server: '//elsewhere' would lead to another."""
    return "/" + one_line(path).lstrip("/\\")


def _html(page: str, *, refresh: bool = True) -> PageAnswer:
    more = (("Refresh", str(REFRESH_SECONDS)),) if refresh else ()
    return PageAnswer(HTTPStatus.OK, "text/html; charset=utf-8", page.encode(), more)


def _text(status: HTTPStatus, words: str, *more: tuple[str, str]) -> PageAnswer:
    return PageAnswer(status, "text/plain; charset=utf-8", f"{words}\n".encode(), more)
