"""No secret is left in any file, log, output, ledger row or process title: a run with refusals, logging everything."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Respond, Rule, internal_error
from support.json_process import PATIENCE, Lines, some_done
from support.operator import Operator
from support.oracle import fill

from schema.tiers import MIB

SECRET = "canary/of+the/secret+access+key/0123456789"
TOKEN = "canary-of-the-session-token-0123456789"
PASSWORD = "canary-of-the-ledgers-password"
NEVER = (SECRET, TOKEN, PASSWORD, "AWS4-HMAC-SHA256", "Signature=")
ECHO = (
    "<Error><Code>AccessDenied</Code><Message>not this one</Message><StringToSign>AWS4-HMAC-SHA256 x</StringToSign>"
    f"<CanonicalRequest>x-amz-security-token:{TOKEN}</CanonicalRequest></Error>"
)
"""As S3 answers a signature it does not like: with all that was signed."""
Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def secretive(on_moto: Operator, seed: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Operator, FaultProxy]]:
    """Some small objects and one in parts, planned with canaries for every secret, before a proxy."""
    for side in ("OLD", "NEW"):
        monkeypatch.setenv(f"{side}_AWS_SESSION_TOKEN", TOKEN)
    on_moto.secret = SECRET
    on_moto.ledger_url = re.sub("://([^:@/]+)@", f"://\\1:{PASSWORD}@", on_moto.ledger_url)
    assert PASSWORD in on_moto.ledger_url
    objects = [*mixed(seed, 24, largest=500, tags=False), CorpusObject("big", 7 * MIB, seed)]
    fill(on_moto.source.client(), on_moto.source_bucket, objects)
    with FaultProxy(on_moto.destination.endpoint_url, seed=seed) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.declare(limits={"requests_per_second": 15, "memory": "12MiB", "workers": 2})
        yield on_moto, proxy


def titles(pid: int) -> Iterator[str]:
    """What `ps` shows of a process and its children."""
    for one in (str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        folder = Path("/proc", one)
        yield (folder / "cmdline").read_text() + (folder / "comm").read_text()


def rows(sql: Sql) -> Iterator[str]:
    """Every row of the ledger as text."""
    tables = sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'ledger'")
    assert len(tables) > 8
    for (table,) in tables:
        for (row,) in sql(f"SELECT t::text FROM ledger.{table} AS t"):  # noqa: S608  names of our own tables
            yield str(row)


def test_no_secret_is_left_anywhere(
    secretive: tuple[Operator, FaultProxy], sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    operator, proxy = secretive
    caplog.set_level(logging.DEBUG)
    said: list[str] = []

    def ran(*words: str | Path, codes: tuple[int, ...] = (0,)) -> None:
        done = operator.run(*words)
        assert done.code in codes, done.err
        said.extend((done.out, done.err))

    ran("plan", "migration.yaml")
    with operator.background("apply", operator.plan_path, "--json", "--processes", "2") as applying:
        lines = Lines(applying)
        lines.until(some_done)
        shown = list(titles(applying.pid))
        applying.send_signal(signal.SIGTERM)
        said.extend(map(str, lines.seen))
        said.extend(applying.communicate(timeout=PATIENCE))
    assert len(shown) == 3
    proxy.rules = [
        Rule(Respond(403, ECHO), operations=("put",), key="photos/"),  # of which the first processes did a few
        Rule(internal_error(), operations=("put", "part"), probability=0.2),
    ]
    ran("apply", operator.plan_path, codes=(3,))
    ran("status")
    ran("status", "--json")
    proxy.rules = [Rule(Respond(403, ECHO), operations=("head", "get"), times=2)]
    ran("verify", operator.plan_path, "--report", "found.html", codes=(8,))
    ran("ledger", "check")
    files = [path for path in operator.folder.rglob("*") if path.is_file()]
    assert len(files) > 4
    everything = {str(path): path.read_bytes().decode(errors="replace") for path in files}
    everything |= {"ledger": "\n".join(rows(sql)), "log": caplog.text, "said": "\n".join(said)}
    everything["titles"] = "\n".join(shown)
    assert "not this one" in everything["said"] and "not this one" in everything["ledger"], (
        "the search finds what is there"
    )
    found = {(place, word) for place, text in everything.items() for word in NEVER if word in text}
    assert found == set()
