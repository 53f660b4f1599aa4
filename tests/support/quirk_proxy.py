"""A service that is not quite S3: a proxy in front of any S3 server that behaves as its quirks say.

    with QuirkProxy(moto.endpoint_url, Hides("x-amz-tagging-count"), Refuses(501, "NotImplemented", header="if-match")):
        ...

A quirk is a small object with two hooks; any number of them combine. `asked` sees the request and may change it or
answer in the server's place (the first that answers decides); `answered` sees what the client is about to hear, in
reverse order, and may change that. Bodies are held whole. What was asked is in the proxy's `history`, as with the
FaultProxy it is made of, and `rules` may be added. Changed headers break a signature: put it before a server that
checks none (moto), or change answers only.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import Enum
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode

from support.fault_proxy import FaultProxy
from support.fault_relay import HOP_BY_HOP, Relay
from support.fault_rules import Request
from support.http_relay import Head

Fields = list[tuple[str, str]]


@dataclass
class Asked:
    """A request on its way to the server. Quirks may change target, fields and body in place."""

    request: Request
    """As the client sent it."""
    target: str
    fields: Fields
    body: bytes

    def header(self, name: str) -> str | None:
        """The first field of that name."""
        return next((value for given, value in self.fields if given.lower() == name.lower()), None)

    def drop(self, dropped: Callable[[str], object]) -> None:
        """Without the fields whose lower-case name *dropped* says yes to."""
        self.fields = [(name, value) for name, value in self.fields if not dropped(name.lower())]

    @property
    def query(self) -> dict[str, str]:
        """Decoded, as it stands now."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @query.setter
    def query(self, pairs: dict[str, str]) -> None:
        path = self.target.partition("?")[0]
        self.target = f"{path}?{urlencode(pairs)}" if pairs else path


class Framing(Enum):
    """How the end of a body is told."""

    LENGTH = "Content-Length"
    CHUNKED = "chunks of seven bytes and more"
    CLOSE = "the connection is closed"


@dataclass
class Answered:
    """An answer on its way to the client. Content-Length follows from the body, but for HEAD."""

    status: int
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    framing: Framing = Framing.LENGTH

    def header(self, name: str) -> str | None:
        """The first field of that name."""
        return next((value for given, value in self.fields if given.lower() == name.lower()), None)

    def without(self, dropped: Callable[[str], object]) -> Answered:
        """Without the fields whose lower-case name *dropped* says yes to."""
        return replace(self, fields=[(name, value) for name, value in self.fields if not dropped(name.lower())])

    def having(self, name: str, value: str) -> Answered:
        """With that field, in place of any of its name."""
        kept = self.without(lambda given: given == name.lower())
        return replace(kept, fields=[*kept.fields, (name, value)])


def refusal(status: int, code: str, message: str = "refused by a quirk") -> Answered:
    """An S3 error answer."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answered(status, [("Content-Type", "application/xml")], body.encode())


class Quirk:
    """One way to differ from S3. Both hooks are called from many threads."""

    def asked(self, call: Asked) -> Answered | None:
        """Change the request, or answer it in the server's place; None: the server answers."""

    def answered(self, call: Asked, answer: Answered) -> Answered:  # noqa: ARG002  the hook's signature
        """What the client hears instead of *answer*."""
        return answer


@dataclass(frozen=True)
class Which:
    """Requests a quirk concerns; what is not given matches all."""

    operations: tuple[str, ...] = ()
    """Of support.fault_rules.OPERATIONS."""
    key: str = ""
    """A regular expression found in the key."""
    header: str = ""
    """The request carries a header whose whole name (lower case) matches this regular expression."""
    value: str = ""
    """And its value this one, found anywhere in it."""
    query: str = ""
    """The request's query has this name."""

    def __contains__(self, call: object) -> bool:
        assert isinstance(call, Asked)
        return (
            (not self.operations or call.request.operation in self.operations)
            and re.search(self.key, call.request.key) is not None
            and (not self.query or self.query in call.request.query)
            and (not self.header or any(self._carries(*pair) for pair in call.fields))
        )

    def _carries(self, name: str, value: str) -> bool:
        return re.fullmatch(self.header, name.lower()) is not None and re.search(self.value, value) is not None


EVERY = Which()


class Refuses(Quirk):
    """Refuses such requests: the first *after* of them pass, then *times* are refused (None: all)."""

    def __init__(
        self,
        status: int,
        code: str,
        which: Which = EVERY,
        *,
        message: str = "refused by a quirk",
        after: int = 0,
        times: int | None = None,
    ) -> None:
        self._answer = refusal(status, code, message)
        self._which = which
        self._refused = range(after, after + times) if times is not None else None
        self._after = after
        self._lock = threading.Lock()
        self._seen = 0

    def asked(self, call: Asked) -> Answered | None:
        if call not in self._which:
            return None
        with self._lock:
            number, self._seen = self._seen, self._seen + 1
        struck = number in self._refused if self._refused is not None else number >= self._after
        return self._answer if struck else None


class Drops(Quirk):
    """Takes such requests, and forgets the headers whose names match, as if they had not been sent."""

    def __init__(self, names: str, which: Which = EVERY) -> None:
        self._names, self._which = names, which

    def asked(self, call: Asked) -> Answered | None:
        if call in self._which:
            call.drop(lambda name: re.fullmatch(self._names, name))
        return None


class Hides(Quirk):
    """Does not tell the headers whose names match."""

    def __init__(self, names: str, which: Which = EVERY) -> None:
        self._names, self._which = names, which

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call not in self._which:
            return answer
        return answer.without(lambda name: re.fullmatch(self._names, name))


class Tells(Quirk):
    """Says of each such success what nobody set. *value* is asked anew for each answer."""

    def __init__(self, name: str, value: Callable[[], str], which: Which = EVERY) -> None:
        self._name, self._value, self._which = name, value, which

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call not in self._which or not 200 <= answer.status < 300:
            return answer
        return answer.having(self._name, self._value())


class Rewrites(Quirk):
    """Changes the bodies of such successes."""

    def __init__(self, change: Callable[[bytes], bytes], which: Which = EVERY) -> None:
        self._change, self._which = change, which

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call not in self._which or answer.status >= 300:
            return answer
        return replace(answer, body=self._change(answer.body))


class ShowsLate(Quirk):
    """What was just written answers 404 to the first *looks* HEADs and GETs of its key."""

    def __init__(self, looks: int, writes: tuple[str, ...] = ("put", "copy", "complete")) -> None:
        self._looks, self._writes = looks, writes
        self._lock = threading.Lock()
        self._hidden: Counter[str] = Counter()

    def asked(self, call: Asked) -> Answered | None:
        if call.request.operation not in ("head", "get"):
            return None
        with self._lock:
            if self._hidden[call.request.key] <= 0:
                return None
            self._hidden[call.request.key] -= 1
        return refusal(404, "NoSuchKey", "The specified key does not exist.")

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call.request.operation in self._writes and answer.status < 300:
            with self._lock:
                self._hidden[call.request.key] = self._looks
        return answer


class QuirkRelay(Relay):
    """One exchange through the quirks."""

    def _forward(self) -> bool:
        proxy = self.proxy
        assert isinstance(proxy, QuirkProxy)
        body = b"".join(self.client.body(self.head))
        self.request_bytes = len(body)
        method, target, version = self.head.first.split(" ", 2)
        call = Asked(self.request, target, self.head.without(*HOP_BY_HOP, "transfer-encoding").fields, body)
        answer = next(filter(None, (quirk.asked(call) for quirk in proxy.quirks)), None)
        if answer is None:
            answer = self._served(method, version, call)
        for quirk in reversed(proxy.quirks):
            answer = quirk.answered(call, answer)
        return self._told(method, answer)

    def _served(self, method: str, version: str, call: Asked) -> Answered:
        """What the server answers to the request as it stands now."""
        fields = [(name, value) for name, value in call.fields if name.lower() != "content-length"]
        if call.body or method in ("PUT", "POST"):
            fields.append(("Content-Length", str(len(call.body))))
        connection = self.upstream.connection()
        head = self._ask(connection, Head(f"{method} {call.target} {version}", fields), iter([call.body]))
        bodiless = method == "HEAD" or self.upstream_status in (204, 304)
        body = b"".join(connection.body(head, bodiless=bodiless, until_close=True))
        if (head.get("connection") or "").lower() == "close":
            self.upstream.close()
        return Answered(self.upstream_status, head.without(*HOP_BY_HOP, "transfer-encoding").fields, body)

    def _told(self, method: str, answer: Answered) -> bool:
        """Whether the connection lives on."""
        if answer.header("date") is None:
            answer = answer.having("Date", formatdate(usegmt=True))
        body = answer.body
        if method == "HEAD":
            body = b""
            if answer.status >= 300:
                answer = answer.having("Content-Length", "0")
        elif answer.status not in (204, 304):
            answer, body = _framed(answer)
        self.status = answer.status
        self.client.send(Head(f"HTTP/1.1 {answer.status} Quirk", answer.fields).encode() + body)
        self.response_bytes = len(body)
        return method == "HEAD" or answer.framing is not Framing.CLOSE


def _framed(answer: Answered) -> tuple[Answered, bytes]:
    """With the fields that tell the body's end, and the bytes to send."""
    if answer.framing is Framing.LENGTH:
        return answer.having("Content-Length", str(len(answer.body))), answer.body
    bare = answer.without(lambda name: name == "content-length")
    if answer.framing is Framing.CLOSE:
        return bare.having("Connection", "close"), answer.body
    size = max(7, len(answer.body) // 3)
    pieces = [answer.body[at : at + size] for at in range(0, len(answer.body), size)]
    chunks = b"".join(b"%x;quirk=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return bare.having("Transfer-Encoding", "chunked"), chunks + b"0\r\nx-trailer: 1\r\n\r\n"


class QuirkProxy(FaultProxy):
    """See the module. `quirks` may be replaced at any time; a quirk's own counts are its own."""

    relay: ClassVar[type[Relay]] = QuirkRelay

    def __init__(self, upstream: str, *quirks: Quirk) -> None:
        super().__init__(upstream)
        self.quirks: tuple[Quirk, ...] = quirks
