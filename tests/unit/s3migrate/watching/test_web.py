"""The live page: only shows, only to who may look, and whatever a key says is text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest
from support.snapshots import HOSTILE, snapshot, worker

from executor.ledger.values import Run, RunState
from s3migrate.watching.address import Address
from s3migrate.watching.serving import Access, access_to
from s3migrate.watching.shares import Part, heat_map, parts_bar
from s3migrate.watching.snapshot import RunSnapshot
from s3migrate.watching.web import Watching
from schema.errors import LedgerUnavailable

LOOPBACK = Address("127.0.0.1", 8080)
OPEN = Address("10.0.0.1", 8080)


@dataclass
class Runs:
    """A ledger of one run."""

    shown: RunSnapshot = field(default_factory=snapshot)
    away: bool = False

    def runs(self) -> list[Run]:
        if self.away:
            raise LedgerUnavailable("the ledger cannot be reached")
        return [self.shown.run]

    def snapshot(self, run_id: int | None) -> RunSnapshot | None:
        return self.shown if run_id in (None, self.shown.run.run_id) else None

    def watched(self) -> list[RunSnapshot]:
        return [self.shown]


@dataclass
class Got:
    status: str
    headers: dict[str, str]
    body: str


def get(
    path: str = "/", runs: Runs | None = None, *, at: Address = LOOPBACK, token: str | None = None, **more: str
) -> Got:
    """One request."""
    told: list[Any] = []
    path, _, query = path.partition("?")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query}
    environ |= {"HTTP_HOST": f"{at.host}:{at.port}", **more}
    reader: Any = runs or Runs()
    body = b"".join(Watching(reader, at, token)(environ, lambda status, headers: told.append((status, headers))))
    return Got(told[0][0], dict(told[0][1]), body.decode())


class Tags(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_where_the_run_stands() -> None:
    got = get("/run/3")
    text = Tags(got.body).text
    assert got.status == "200 OK"
    for words in ("43.2 %", "432,100", "about 2 h 10 min (1 h 40 min to 3 h 3 min)", "62 % of thread time",
                  "s3migrate retry 3", "process 4711 on host", "bulk", "AccessRefused: 3"):  # fmt: skip
        assert words in text, words
    assert got.headers["Refresh"] == "5"


def test_the_list_leads_to_each_run() -> None:
    assert 'href="/run/3"' in get("/").body


def test_a_run_that_has_ended_is_not_asked_for_again_and_again() -> None:
    shown = snapshot()
    ended = replace(shown, progress=replace(shown.progress, state=RunState.COMPLETE), eta=None, workers=[])
    assert "Refresh" not in get("/run/3", Runs(ended)).headers


@pytest.mark.parametrize("path", ["/", "/run/3"])
def test_no_name_key_or_message_becomes_markup(path: str) -> None:
    shown = snapshot()
    run, progress = replace(shown.run, name=HOSTILE), replace(shown.progress, name=HOSTILE)
    stages = [shown.stages[0]._replace(stage=HOSTILE)]
    shown = replace(shown, workers=[worker(host=HOSTILE)])
    page = get(path, Runs(replace(shown, run=run, progress=progress, stages=stages, failed_by={HOSTILE: 1}))).body
    found = Tags(page)
    assert "script" not in found.tags
    assert not {name for name in found.attributes if name.startswith("on") or name == "style"}
    assert "\x1b" not in page and "\u202e" not in page and "\\\\x1b" not in page, "escaped once"
    assert "<script>alert(1)</script>" in found.text


def test_nothing_is_loaded_and_the_policy_says_so() -> None:
    got = get("/run/3")
    policy = got.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not Tags(got.body).attributes & {"src", "srcset", "action"}
    assert not Tags(got.body).tags & {"script", "link", "img", "iframe", "form"}


def test_run_json_has_the_same_figures() -> None:
    for path in ("/run.json", "/run/3/run.json"):
        said = json.loads(get(path).body)
        assert (said["format_version"], said["run_id"], said["done"], said["failed"]) == (1, 3, 432_100, 3)
        assert said["why"]["bottleneck"] == "destination"
        assert said["eta_seconds"]["expected"] == 7800.0
        assert said["requests"]["destination"] == {"put": 3100}


def test_metrics_are_the_runs() -> None:
    got = get("/metrics")
    assert 's3migrate_objects{name="photos",run="3",state="done"} 432100.0' in got.body
    assert got.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/run/4", "/run/x", "/run/3/other", "/../etc/passwd", "/run/" + "9" * 40])
def test_what_there_is_not_is_said_so(path: str) -> None:
    assert get(path).status == "404 Not Found"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_shows(method: str) -> None:
    assert get(REQUEST_METHOD=method).status == "405 Method Not Allowed"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "",
        "localhost:x",
        "[::1]evil",
        "10.0.0.1:8080",
        "127.0.0.1.evil.example:8080",
    ],
)
def test_another_ones_name_for_this_machine_is_refused(host: str) -> None:
    assert get(HTTP_HOST=host).status == "421 Misdirected Request"


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST", "127.0.0.1:9999"])
def test_the_machines_own_names_are_served_with_any_port_of_a_tunnel(host: str) -> None:
    assert get(HTTP_HOST=host).status == "200 OK"


def test_the_address_bound_to_is_served() -> None:
    assert get(at=Address("127.0.0.5", 8080)).status == "200 OK"
    assert get(at=Address("127.0.0.5", 8080), HTTP_HOST="127.0.0.6:8080").status == "421 Misdirected Request"


@pytest.mark.parametrize("host", ["localhost:9999", "watch.example", "10.0.0.1:8080"])
def test_behind_a_tunnel_or_a_proxy_the_token_counts_not_the_name(host: str) -> None:
    shown = get(at=OPEN, token="secret", HTTP_HOST=host, HTTP_AUTHORIZATION="Bearer secret")
    assert shown.status == "200 OK"
    assert get(at=OPEN, token="secret", HTTP_HOST=host).status == "401 Unauthorized"


def test_a_token_of_any_characters_comes_back_by_the_cookie() -> None:
    token = 'a;b "c"=/&+\r\nX: y'
    given = get(f"/?token={quote(token, safe='')}", at=OPEN, token=token)
    cookie = given.headers["Set-Cookie"].partition(";")[0]
    assert given.status == "303 See Other"
    assert not set(given.headers["Set-Cookie"]) & {"\r", "\n", '"'}
    assert get(at=OPEN, token=token, HTTP_COOKIE=cookie).status == "200 OK"


def test_only_a_token_made_here_is_printed() -> None:
    assert access_to(OPEN, "a&b") == Access(
        "a&b",
        (
            "watching at http://10.0.0.1:8080/ with S3MIGRATE_SERVE_TOKEN (Ctrl-C ends it)",
            "it is not encrypted: put it behind a proxy with TLS, or use an SSH tunnel",
        ),
    )
    made = access_to(OPEN, None)
    assert made.token is not None
    assert f"?token={made.token} " in made.lines[0]
    assert access_to(LOOPBACK, "a&b").token is None


def test_beyond_loopback_a_token_is_asked_for() -> None:
    assert get(at=OPEN, token="secret").status == "401 Unauthorized"
    assert get("/?token=wrong", at=OPEN, token="secret").status == "401 Unauthorized"
    assert get(at=OPEN, token="secret", HTTP_AUTHORIZATION="Bearer secret").status == "200 OK"
    assert get(at=OPEN, token="secret", HTTP_COOKIE="s3migrate=secret").status == "200 OK"
    given = get("/run/3?token=secret", at=OPEN, token="secret")
    assert (given.status, given.headers["Location"]) == ("303 See Other", "/run/3")
    assert "HttpOnly" in given.headers["Set-Cookie"] and "SameSite=Strict" in given.headers["Set-Cookie"]
    assert get("//evil.example?token=secret", at=OPEN, token="secret").headers["Location"] == "/evil.example"


def test_a_ledger_that_is_away_is_said_so() -> None:
    got = get("/", Runs(away=True))
    assert got.status == "503 Service Unavailable"
    assert "the ledger cannot be reached" in got.body


@pytest.mark.parametrize(
    ("text", "expected", "loopback"),
    [
        ("9100", Address("127.0.0.1", 9100), True),
        (":9100", Address("127.0.0.1", 9100), True),
        ("localhost", Address("localhost", 0), True),
        ("0.0.0.0:80", Address("0.0.0.0", 80), False),  # noqa: S104
        ("[::1]:9100", Address("::1", 9100), True),
        ("[::1]", Address("::1", 0), True),
        ("host.example:1", Address("host.example", 1), False),
    ],
)
def test_addresses_are_understood(text: str, expected: Address, loopback: bool) -> None:
    found = Address.parse(text)
    assert (found, found.is_loopback) == (expected, loopback)


@pytest.mark.parametrize("text", ["host:port", "host:99999", "1:2:x", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        Address.parse(text)


def test_pictures_are_words_too() -> None:
    assert "50 % done, 1 cells with failures" in heat_map([(1.0, False), (0.0, True)])
    assert "&lt;b&gt; 75 %" in parts_bar([Part("<b>", 0.75), Part("rest", 0.25)])
