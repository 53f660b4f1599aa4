"""What may go wrong, when, and to which request: the pure half of the fault proxy.

A `Rule` says which requests it concerns and what happens to them. Whether a rule with a probability strikes
depends only on the seed, the rule's place, the request's identity and how often that request has been seen:
never on the order in which threads arrive, so a seed repeats its faults.
"""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

OPERATIONS = frozenset(
    (
        *("service", "bucket", "list", "list-versions", "list-uploads", "delete-many"),
        *("get", "head", "put", "delete", "copy", "tag", "other"),
        *("create", "part", "part-copy", "list-parts", "complete", "abort"),
    )
)


class Request(NamedTuple):
    """A request as the rules see it."""

    method: str
    operation: str
    """One of OPERATIONS; `tag` is GetObjectTagging and PutObjectTagging alike."""
    bucket: str
    key: str
    headers: Mapping[str, str]
    """Names in lower case, latin-1."""
    identity: str
    """Equal for a repetition of the same request: method, path, query without uploadId, Range."""
    query: Mapping[str, str]
    """Decoded; of repeated names the last."""


def parse_request(method: str, target: str, headers: Mapping[str, str]) -> Request:
    """Understand a path-style S3 request."""
    if "://" in target[:8]:
        split = urlsplit(target)
        target = split.path + ("?" + split.query if split.query else "")
    path, _, query_text = target.partition("?")
    bucket, _, key = path.removeprefix("/").partition("/")
    query = dict(parse_qsl(query_text, keep_blank_values=True))
    kept = "&".join(f"{k}={v}" for k, v in sorted(query.items()) if k != "uploadId")
    identity = f"{method} {path}?{kept} {headers.get('range', '')}"
    operation = _operation(method, bool(bucket), bool(key), query, headers)
    return Request(method, operation, unquote(bucket), unquote(key), headers, identity, query)


def _operation(method: str, bucket: bool, key: bool, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    if not bucket:
        return "service"
    if not key:
        return _bucket_operation(method, query)
    if "tagging" in query:
        return "tag"
    if "uploadId" in query:
        copying = "x-amz-copy-source" in headers
        by_method = {"GET": "list-parts", "PUT": "part-copy" if copying else "part", "POST": "complete"}
        return by_method.get(method, "abort")
    if method == "POST" and "uploads" in query:
        return "create"
    if query.keys() & {"acl", "retention", "legal-hold", "restore", "attributes", "torrent", "select"}:
        return "other"
    if method == "PUT":
        return "copy" if "x-amz-copy-source" in headers else "put"
    return {"GET": "get", "HEAD": "head", "DELETE": "delete"}.get(method, "other")


def _bucket_operation(method: str, query: Mapping[str, str]) -> str:
    if method == "POST" and "delete" in query:
        return "delete-many"
    if method != "GET":
        return "bucket"
    if "versions" in query:
        return "list-versions"
    if "uploads" in query:
        return "list-uploads"
    listing = {"list-type", "prefix", "marker", "max-keys", "delimiter", "encoding-type", "start-after"}
    return "list" if not query or query.keys() & listing else "bucket"


# --- what happens -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delay:
    """Wait before forwarding; `jitter` seconds more at most, seeded."""

    seconds: float
    jitter: float = 0.0


@dataclass(frozen=True)
class Bandwidth:
    """Pass the answer's body (upload=True: the request's) at this pace. chunk=1 is a slow drip."""

    bytes_per_second: float
    chunk: int = 16_384
    upload: bool = False


@dataclass(frozen=True)
class Respond:
    """Answer this. forward=False: the server never hears of it; True: it acted, and the answer is replaced."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    forward: bool = False


@dataclass(frozen=True)
class Reset:
    """Reset the connection. after=False: before a byte reached the server; True: the server acted (lost success)."""

    after: bool = False


@dataclass(frozen=True)
class Truncate:
    """Pass only this share of the answer's body under its full Content-Length, then close."""

    share: float = 0.5


@dataclass(frozen=True)
class Overlong:
    """Append bytes to the answer's body, Content-Length grown with it."""

    extra: int = 1


@dataclass(frozen=True)
class FlipBit:
    """Flip one bit of the answer's body (upload=True: of the request's), the length kept; the place is seeded."""

    upload: bool = False


@dataclass(frozen=True)
class RateLimit:
    """Above this many requests a second (of those the rule matches): 503 SlowDown."""

    requests_per_second: float
    burst: float = 10.0
    retry_after: float | None = None


@dataclass(frozen=True)
class EnforceChecksums:
    """400 BadDigest when Content-MD5 or x-amz-checksum-crc32/crc32c/crc64nvme differs from the body."""


@dataclass(frozen=True)
class EnforceConditions:
    """412 for If-None-Match: * on an existing key and If-Match on another ETag; needs the proxy's credentials.

    Covers put, complete and copy: moto ignores conditions on copies, rclone some on writes.
    """


@dataclass(frozen=True)
class IgnoreConditions:
    """Drop If-None-Match and If-Match before forwarding, as some servers silently do.

    The signature no longer fits when they were signed: only for servers that check none (moto).
    """


Action = (
    Delay
    | Bandwidth
    | Respond
    | Reset
    | Truncate
    | Overlong
    | FlipBit
    | RateLimit
    | EnforceChecksums
    | EnforceConditions
    | IgnoreConditions
)
_ACTIONS: dict[str, type[Any]] = {
    a.__name__: a
    for a in (
        Delay,
        Bandwidth,
        Respond,
        Reset,
        Truncate,
        Overlong,
        FlipBit,
        RateLimit,
        EnforceChecksums,
        EnforceConditions,
        IgnoreConditions,
    )
}


def error(status: int, code: str, message: str = "injected", *, retry_after: float | None = None) -> Respond:
    """An S3 error answer."""
    headers = {"Content-Type": "application/xml"} | ({} if retry_after is None else {"Retry-After": f"{retry_after:g}"})
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Respond(status, body, headers)


def slow_down(retry_after: float | None = None) -> Respond:
    """503 SlowDown."""
    return error(503, "SlowDown", "Please reduce your request rate.", retry_after=retry_after)


def too_many_requests(retry_after: float | None = 1) -> Respond:
    """429."""
    return error(429, "TooManyRequests", retry_after=retry_after)


def internal_error() -> Respond:
    """500 InternalError."""
    return error(500, "InternalError", "We encountered an internal error. Please try again.")


def expired_token() -> Respond:
    """400 ExpiredToken."""
    return error(400, "ExpiredToken", "The provided token has expired.")


def clock_skewed() -> Respond:
    """403 RequestTimeTooSkewed."""
    return error(403, "RequestTimeTooSkewed", "The difference between the request time and the server's is too large.")


def lying_empty(*, forward: bool = False) -> Respond:
    """200 with nothing in it."""
    return Respond(200, "", {"Content-Type": "application/xml"}, forward)


def lying_html(*, forward: bool = False) -> Respond:
    """200 with a captive portal's page."""
    return Respond(200, "<html><body>Welcome to our network</body></html>", {"Content-Type": "text/html"}, forward)


def lying_error(code: str = "InternalError", *, forward: bool = False) -> Respond:
    """200 with <Error> inside, as Complete and Copy may answer."""
    return Respond(200, error(200, code).body, {"Content-Type": "application/xml"}, forward)


# --- when ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """One fault. Empty selectors match all. `nth` (from 1) strikes that match only; `skip` leaves the first
    ones alone, `times` bounds the strikes. per_key counts each distinct request by itself: Rule(slow_down(),
    operations=("get",), times=1, per_key=True) fails the first attempt of every GET.
    """

    action: Action
    operations: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    key: str = ""
    """Substring of the key."""
    nth: int | None = None
    skip: int = 0
    times: int | None = None
    probability: float = 1.0
    per_key: bool = False

    def __post_init__(self) -> None:
        unknown = set(self.operations) - OPERATIONS
        if unknown:
            raise ValueError(f"no such operations: {sorted(unknown)}")

    def concerns(self, request: Request) -> bool:
        """Whether the selectors match; says nothing of counts."""
        return (
            (not self.operations or request.operation in self.operations)
            and (not self.methods or request.method in self.methods)
            and self.key in request.key
        )

    def strikes(self, count: int, struck: int, chance: random.Random) -> bool:
        """Whether the *count*-th match (from 1) is struck, *struck* having been so far."""
        if self.nth is not None and count != self.nth:
            return False
        if count <= self.skip or (self.times is not None and struck >= self.times):
            return False
        return self.probability >= 1.0 or chance.random() < self.probability

    def to_json(self) -> dict[str, Any]:
        """For the control file."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "action"}
        return plain | {"action": {"name": type(self.action).__name__, **asdict(self.action)}}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Rule:
        """The inverse of to_json."""
        words = dict(document)
        action = dict(words.pop("action"))
        made = _ACTIONS[action.pop("name")](**action)
        words |= {name: tuple(words[name]) for name in ("operations", "methods") if name in words}
        return Rule(made, **words)


class Struck(NamedTuple):
    """An action that applies to a request, with its own seeded randomness."""

    action: Action
    chance: random.Random


class RuleBook:
    """Rules with their counters. Not thread-safe: hold a lock around `strike`."""

    def __init__(self, rules: Iterable[Rule], seed: int, clock: Callable[[], float]) -> None:
        self.rules = tuple(rules)
        self._seed = seed
        self._clock = clock
        self._counts: dict[tuple[int, str], tuple[int, int]] = {}
        self._seen: dict[str, int] = {}
        self._buckets: dict[int, tuple[float, float]] = {}

    def strike(self, request: Request) -> list[Struck]:
        """The actions for *request*, in the order of the rules; the first answering one decides the answer."""
        if not self.rules:
            return []
        attempt = self._seen[request.identity] = self._seen.get(request.identity, 0) + 1
        struck = []
        for place, rule in enumerate(self.rules):
            if not rule.concerns(request):
                continue
            slot = (place, request.identity if rule.per_key else "")
            count, strikes = self._counts.get(slot, (0, 0))
            chance = random.Random(f"{self._seed}:{place}:{request.identity}:{attempt}")
            hit = rule.strikes(count + 1, strikes, chance)
            self._counts[slot] = (count + 1, strikes + hit)
            action = self._limited(place, rule.action) if hit else None
            if action is not None:
                struck.append(Struck(action, chance))
        return struck

    def _limited(self, place: int, action: Action) -> Action | None:
        """A RateLimit becomes a 503 or nothing; other actions stay themselves."""
        if not isinstance(action, RateLimit):
            return action
        now = self._clock()
        tokens, then = self._buckets.get(place, (action.burst, now))
        tokens = min(action.burst, tokens + (now - then) * action.requests_per_second)
        allowed = tokens >= 1.0
        self._buckets[place] = (tokens - 1.0 if allowed else tokens, now)
        return None if allowed else slow_down(action.retry_after)


def wrong_checksum(headers: Mapping[str, str], body: bytes) -> str | None:
    """The name of the first integrity header that does not fit *body*; None when all do.

    A body in aws-chunked framing is not looked into.
    """
    if "aws-chunked" in headers.get("content-encoding", ""):
        return None
    from awscrt import checksums

    algorithms: dict[str, Callable[[bytes], bytes]] = {
        "content-md5": lambda b: hashlib.md5(b, usedforsecurity=False).digest(),
        "x-amz-checksum-crc32": lambda b: zlib.crc32(b).to_bytes(4, "big"),
        "x-amz-checksum-crc32c": lambda b: checksums.crc32c(b).to_bytes(4, "big"),
        "x-amz-checksum-crc64nvme": lambda b: checksums.crc64nvme(b).to_bytes(8, "big"),
        "x-amz-checksum-sha256": lambda b: hashlib.sha256(b).digest(),
    }
    for name, digest in algorithms.items():
        said = headers.get(name)
        if said is not None and said != base64.b64encode(digest(body)).decode():
            return name
    return None
