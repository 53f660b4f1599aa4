"""One migration between two servers with quirks, judged by the oracle: what went wrong in it, if anything did.

A case is drawn, not written: quirks of both sides by name, and a corpus from a seed. The verdict is about promises
that hold whatever a server does: no exit 1, no run beyond its deadline, and no verify that says 0 while a byte, tag,
header, entry of metadata or version differs that no accepted loss and no quirk's blindness excuses.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from support.corpus import MIB, ODD_KEYS, SLASHED_KEYS, CorpusObject, holdable_by_moto
from support.operator import Operator, Ran
from support.oracle import FIELDS, SYSTEM_HEADERS, Difference, compare, compare_versions, fill
from support.quirk_catalogue import BY_NAME
from support.quirk_proxy import QuirkProxy
from support.servers import S3Server

DEADLINE_SECONDS = 90
"""Of one command; a machine that does other things besides is slow."""
TIMEOUTS = {"connect": 5, "list": 10, "head": 10, "get": 10, "put": 10, "complete": 10, "copy": 10, "other": 10}
NAMES = ("plain", "low_line", "dot.ted", "0", "x" * 40, "tilde~", "Mixed-Case", "a_b.c-d", "content-type")
VALUES = ("v", "two  words", "a=b;c", "=?UTF-8?B?w6k=?=", "1" * 300, "trailing,comma", "%41", "0")
TAG_VALUES = ("x", "a+b", "é/ü", "", "a b", "=", "1" * 100)
EXCUSED = {
    "tags": ("tags",),
    "user-metadata": ("metadata",),
    "user-metadata-text": ("metadata",),
    "metadata-names": ("metadata",),
    "metadata-size": ("metadata",),
    "system-headers": SYSTEM_HEADERS[:-1],
    "website-redirect": ("WebsiteRedirectLocation",),
    "odd-keys": ("missing", "extra"),
    "versions": ("versions",),
}
"""Accepted loss -> what may differ."""


@dataclass(frozen=True)
class Case:
    """One migration to try."""

    source: tuple[str, ...]
    destination: tuple[str, ...]
    """Names of rows of the catalogue."""
    seed: int
    versions: bool = False
    transfer: str = "stream"
    layout: bool = False
    parts: bool = False
    """One object is written in parts of 5 MiB."""


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    codes: tuple[int, ...]
    """Of the commands, in order."""
    problem: str
    """'': every promise was kept."""
    differences: tuple[Difference, ...] = ()
    said: str = ""
    """By the command that ended it, or by verify."""
    seconds: float = 0.0


def corpus(case: Case) -> list[CorpusObject]:
    """Some six objects: odd and plain keys, an empty one, tags, names and values that servers trip over."""
    rng = random.Random(f"quirks:{case.seed}")
    odd = [key for key in (*ODD_KEYS, *SLASHED_KEYS) if holdable_by_moto(key) and key != "clash"]
    if case.versions:  # moto's list of versions is no XML with some of them, and then no oracle
        odd = [key for key in odd if key.isprintable()]
    keys = [*rng.sample(odd, rng.randrange(3)), *(f"k{number}/{rng.randrange(10**6):06}" for number in range(3))]
    made = [_dressed(key, rng.choice((0, 1, 700, 70_000)), rng) for key in keys]
    if case.parts:
        made.append(replace(_dressed("large", 6 * MIB + rng.randrange(1000), rng), part_size=5 * MIB))
    return made


def _dressed(key: str, size: int, rng: random.Random) -> CorpusObject:
    headers = {"ContentType": rng.choice(("image/jpeg", "text/plain; charset=utf-8", "Text/X-Odd"))}
    more = {
        "CacheControl": "max-age=9",
        "ContentDisposition": 'attachment; filename="a b.bin"',
        "ContentEncoding": rng.choice(("identity", "gzip")),
        "ContentLanguage": "de-DE, en",
        "Expires": "Thu, 01 Dec 2044 16:00:00 GMT",
        "WebsiteRedirectLocation": "/elsewhere",
    }
    headers |= {name: value for name, value in more.items() if rng.random() < 0.3}
    metadata = {name: rng.choice(VALUES) for name in rng.sample(NAMES, rng.randrange(4))}
    tags = {f"tag {n}": rng.choice(TAG_VALUES) for n in range(rng.choice((0, 0, 1, 2, 5)))}
    return CorpusObject(key, size, rng.getrandbits(48), headers, metadata, tags)


class TookTooLong(BaseException):
    """A command did not end in time. No handler of the product may swallow it."""


@contextlib.contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Raises TookTooLong in the main thread after so long."""

    def strike(_number: int, _frame: FrameType | None) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, strike)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tried(case: Case, server: S3Server, ledger_url: str, folder: Path) -> Outcome:
    """Fill a bucket of *server*, migrate it into another one through the quirks of both sides, and judge."""
    began = time.monotonic()
    token = uuid.uuid4().hex[:12]
    client, names = server.client(), [server.create_bucket(f"{side}-{token}") for side in ("src", "dst")]
    home = folder / token
    home.mkdir()
    operator = Operator(home, ledger_url, server, server, *names)
    if case.versions:
        for name in names:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    objects = corpus(case)
    fill(client, names[0], objects, threads=1)
    if case.versions:
        again = [replace(one, seed=one.seed + 1, size=one.size // 2) for one in objects[:3] if one.part_size is None]
        fill(client, names[0], again, threads=1)
        client.delete_object(Bucket=names[0], Key=objects[-1].key)
    sides = [[BY_NAME[name].make() for name in given] for given in (case.source, case.destination)]
    with QuirkProxy(server.endpoint_url, *sides[0]) as before, QuirkProxy(server.endpoint_url, *sides[1]) as behind:
        operator.source_url, operator.destination_url = before.endpoint_url, behind.endpoint_url
        if case.transfer != "stream":
            operator.source_url = operator.destination_url
        try:
            outcome = _migrated(operator, case)
        except TookTooLong:
            outcome = Outcome((), f"a command took more than {DEADLINE_SECONDS} s")
    return replace(outcome, seconds=time.monotonic() - began)


def _migrated(operator: Operator, case: Case) -> Outcome:
    policy = {"transfer": case.transfer, "on_destination_newer": "overwrite"}
    declared: dict[str, Any] = {
        "policy": policy | ({"versions": "all"} if case.versions else {}),
        "preserve": {"part_layout": case.layout, "website_redirect": True},
        "timeouts": TIMEOUTS,
        "limits": {"memory": "64MiB"},
    }
    operator.declare(**declared)
    ran: list[Ran] = []

    def run(*words: Any) -> int:
        with deadline(DEADLINE_SECONDS):
            ran.append(operator.run(*words))
        return ran[-1].code

    def ended(problem: str = "", differences: tuple[Difference, ...] = ()) -> Outcome:
        codes = tuple(each.code for each in ran)
        said = ran[-1].err[-2000:] + ran[-1].out[-1000:]
        if 3 in codes:
            said += operator.run("status", "--json").out[-3000:]
        spoiled = [each for each in ran if each.code == 1 or "Traceback" in each.err]
        if spoiled:
            return Outcome(codes, "exit 1", (), spoiled[0].err[-4000:])
        return Outcome(codes, problem, differences, said)

    if run("plan", "migration.yaml") != 0:
        return ended()
    accepted: set[str] = set()
    if run("apply", operator.plan_path) == 7:
        accepted = {loss["id"] for loss in _section(operator).get("losses", ())}
        operator.declare(**declared, accept_loss=sorted(accepted))
        if run("plan", "migration.yaml") != 0 or run("apply", operator.plan_path) not in (0, 3):
            return ended()
    proven = run("verify", operator.plan_path, "--level", "content")
    found = _unexcused(operator, case, accepted)
    if proven == 0 and found:
        return ended("verify says 0 and there are differences", found)
    return ended("", found)


def _section(operator: Operator) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(operator.plan_path.read_text())["sections"][0]
    return found


def _unexcused(operator: Operator, case: Case, accepted: set[str]) -> tuple[Difference, ...]:
    """What the oracle sees and nobody has excused."""
    blind = {field for name in (*case.source, *case.destination) for field in BY_NAME[name].blinds}
    excused = {field for loss in accepted for field in EXCUSED.get(loss, ())}
    fields = [field for field in FIELDS if field not in blind and field not in excused]
    if case.versions:
        found = compare_versions(operator.source_side, operator.destination_side, fields=fields)
    else:
        found = compare(operator.source_side, operator.destination_side, fields=fields, threads=2)
    unsupported = _section(operator)["summary"].get("unsupported", {}).get("objects", 0)
    missing = [each for each in found if each.field in ("missing", "versions")]
    if len(missing) <= unsupported:
        found = [each for each in found if each.field not in ("missing", "versions")]
    return tuple(each for each in found if each.field not in excused and not says_the_same(each))


def says_the_same(seen: Difference) -> bool:
    """Case and blanks mean nothing in these; the corpus has no parameter but charset."""
    tokens = seen.field in ("ContentType", "ContentEncoding", "ContentLanguage")
    return tokens and str(seen.source).lower().replace(" ", "") == str(seen.destination).lower().replace(" ", "")
