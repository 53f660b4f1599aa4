"""Ways in which services differ from S3, one row each, to be combined at random: listed faults and invented cousins.

A row's kind is the letter of the reference. `blinds` names fields of the oracle that nobody can see through the quirk,
whatever is asked: of these no verdict is wrong. All other fields must be right, or the run must say that they are not.
Quirks that refuse for ever are kept to those that a probe can see; those that break a single answer pass in the end.
"""

# ruff: noqa: E501  a table: one row, one line

from __future__ import annotations

import gzip
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import partial

from support.quirk_proxy import (
    EVERY,
    Answered,
    Asked,
    Drops,
    Framing,
    Hides,
    Quirk,
    Refuses,
    Rewrites,
    ShowsLate,
    Tells,
    Which,
    refusal,
)

READS = Which(("get", "head"))
HEADS = Which(("head",))
LISTS = Which(("list", "list-versions"))
OBJECTS = Which(("list",))
WRITES = ("put", "copy", "create", "complete", "part", "part-copy")
HTML = b"<!DOCTYPE html><html><body>Please wait</body></html>"


# --- building blocks ---------------------------------------------------------------------------------------------


class Recodes(Quirk):
    """Changes the values of fields whose names match, in such answers."""

    def __init__(self, names: str, change: Callable[[str], str], which: Which = EVERY) -> None:
        self._names, self._change, self._which = names, change, which

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call not in self._which or answer.status >= 300:
            return answer
        return replace(answer, fields=[self._one(*pair) for pair in answer.fields])

    def _one(self, name: str, value: str) -> tuple[str, str]:
        return (name, self._change(value)) if re.fullmatch(self._names, name.lower()) else (name, value)


class Renames(Quirk):
    """Changes the case, or anything else, of the names of fields."""

    def __init__(self, change: Callable[[str], str]) -> None:
        self._change = change

    def answered(self, call: Asked, answer: Answered) -> Answered:  # noqa: ARG002  the hook's signature
        return replace(answer, fields=[(self._change(name), value) for name, value in answer.fields])


class Stores(Quirk):
    """Takes such writes, and keeps something else of the headers whose names match."""

    def __init__(self, names: str, change: Callable[[str], str], which: Which = EVERY) -> None:
        self._names, self._change, self._which = names, change, which

    def asked(self, call: Asked) -> None:
        if call in self._which:
            call.fields = [
                (name, self._change(value) if re.fullmatch(self._names, name.lower()) else value)
                for name, value in call.fields
            ]


class Stumbles(Quirk):
    """Answers each such request wrongly the first *times* it is made. *after*: the server did what was asked."""

    def __init__(self, answer: Answered, which: Which, *, times: int = 1, after: bool = False, every: int = 1) -> None:
        self._answer, self._which, self._times, self._after, self._every = answer, which, times, after, every
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._struck: set[int] = set()

    def _strikes(self, call: Asked) -> bool:
        if call not in self._which:
            return False
        with self._lock:
            self._seen[call.request.identity] += 1
            number = list(self._seen).index(call.request.identity)
            return self._seen[call.request.identity] <= self._times and number % self._every == 0

    def asked(self, call: Asked) -> Answered | None:
        return self._answer if not self._after and self._strikes(call) else None

    def answered(self, call: Asked, answer: Answered) -> Answered:
        return self._answer if self._after and answer.status < 300 and self._strikes(call) else answer


class WritesEtags(Quirk):
    """Writes ETags in capitals wherever it shows one, and knows them again."""

    def asked(self, call: Asked) -> None:
        call.fields = [(name, value.lower() if "if-match" in name.lower() else value) for name, value in call.fields]
        if call.request.operation == "complete":
            call.body = re.sub(rb"<ETag>[^<]*<", lambda f: b"<ETag>" + f[0][6:].lower(), call.body)

    def answered(self, call: Asked, answer: Answered) -> Answered:
        told = replace(answer, fields=[(n, v.upper() if n.lower() == "etag" else v) for n, v in answer.fields])
        if call.request.operation in ("get", "head"):
            return told
        return replace(told, body=re.sub(rb"<ETag>(&quot;|&#34;|\")?[0-9a-f]+", _capitals, told.body))


def _capitals(found: re.Match[bytes]) -> bytes:
    start = 6 + len(found[1] or b"")
    return found[0][:start] + found[0][start:].upper()


class Frames(Quirk):
    """Sends such answers in another framing."""

    def __init__(self, framing: Framing, which: Which = EVERY) -> None:
        self._framing, self._which = framing, which

    def answered(self, call: Asked, answer: Answered) -> Answered:
        return replace(answer, framing=self._framing) if call in self._which else answer


class Packs(Quirk):
    """Sends such documents gzipped, whether that is accepted or not."""

    def __init__(self, which: Which) -> None:
        self._which = which

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call not in self._which or not answer.body:
            return answer
        return replace(answer.having("Content-Encoding", "gzip"), body=gzip.compress(answer.body, mtime=0))


class IgnoresRange(Quirk):
    """Answers a GET with Range as one without."""

    def asked(self, call: Asked) -> None:
        if call.request.operation == "get":
            call.drop(lambda name: name == "range")


class SmallPages(Quirk):
    """Never lists more than *most* at a time, whatever max-keys says."""

    def __init__(self, most: int) -> None:
        self._most = most

    def asked(self, call: Asked) -> None:
        if call in LISTS:
            call.query = {**call.query, "max-keys": str(self._most)}


class Unencoded(Quirk):
    """Does not know encoding-type, and does not say that it encodes."""

    def asked(self, call: Asked) -> None:
        if call in LISTS:
            call.query = {name: value for name, value in call.query.items() if name != "encoding-type"}


class RepeatsTheLast(Quirk):
    """Each page of objects begins with the last entry of the page before."""

    def __init__(self) -> None:
        self._last: dict[str, bytes] = {}

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call not in OBJECTS or answer.status >= 300:
            return answer
        entries = re.findall(rb"<Contents>.*?</Contents>", answer.body, re.DOTALL)
        token = call.query.get("continuation-token") or call.query.get("marker") or ""
        before = self._last.get(token)
        body = answer.body
        if before is not None and entries:
            body = body.replace(b"<Contents>", before + b"<Contents>", 1)
        following = re.search(rb"<Next(?:ContinuationToken|Marker)>([^<]+)<", answer.body)
        if following and entries:
            self._last[following[1].decode()] = entries[-1]
        return replace(answer, body=body)


def in_entries(pattern: bytes, to: bytes, which: Which = LISTS) -> Quirk:
    """Replaces *pattern* in listings."""
    return Rewrites(partial(re.compile(pattern, re.DOTALL).sub, to), which)


class Redirects(Quirk):
    """Answers the first request for each key with a redirect to the same place."""

    def __init__(self, status: int, which: Which) -> None:
        self._status, self._which = status, which
        self._seen: set[str] = set()

    def asked(self, call: Asked) -> Answered | None:
        if call not in self._which or call.request.identity in self._seen:
            return None
        self._seen.add(call.request.identity)
        answer = refusal(self._status, "TemporaryRedirect")
        return answer.having("Location", f"http://{call.header('host')}{call.target}")


# --- values ------------------------------------------------------------------------------------------------------


def unquoted(value: str) -> str:
    """An ETag without its quotes."""
    return value.strip('"')


def respelt(kind: str) -> str:
    """A media type without blanks, its charset in capitals."""
    return kind.replace("; charset=utf-8", ";charset=UTF-8")


def weak(value: str) -> str:
    """A weak ETag."""
    return f"W/{value}"


def iso(value: str) -> str:
    """An HTTP date as ISO 8601."""
    return parsedate_to_datetime(value).strftime("%Y-%m-%dT%H:%M:%SZ")


def folded(value: str) -> str:
    """White space folded, as old proxies do."""
    return " ".join(value.split())


def percent_20(body: bytes) -> bytes:
    """Blanks of encoded keys as %20; a page that is not encoded says '+' of a plus."""
    if b"<EncodingType>url" not in body:
        return body
    return re.sub(rb"<Key>[^<]*<", lambda found: found[0].replace(b"+", b"%20"), body)


# --- the catalogue -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One way to differ."""

    name: str
    kind: str
    make: Callable[[], Quirk]
    sides: tuple[str, ...] = ("source", "destination")
    blinds: frozenset[str] = field(default_factory=frozenset)

    def __repr__(self) -> str:
        return self.name


def _row(name: str, kind: str, make: Callable[[], Quirk], *, sides: str = "sd", blinds: str = "") -> Row:
    named = {"s": "source", "d": "destination"}
    return Row(name, kind, make, tuple(named[letter] for letter in sides), frozenset(blinds.split()))


def _hides(names: str, which: Which = EVERY) -> Callable[[], Quirk]:
    return lambda: Hides(names, which)


def _drops(names: str, *operations: str) -> Callable[[], Quirk]:
    return lambda: Drops(names, Which(operations or WRITES))


def _refuses(status: int, code: str, which: Which) -> Callable[[], Quirk]:
    return lambda: Refuses(status, code, which)


def _stumbles(answer: Answered, which: Which, *, times: int = 1, after: bool = False, every: int = 3) -> Callable[[], Quirk]:  # fmt: skip
    return lambda: Stumbles(answer, which, times=times, after=after, every=every)


CONDITIONS = "if-match|if-none-match|x-amz-copy-source-if-match"

CATALOGUE: tuple[Row, ...] = (
    # A: what is not told, or told of every object
    _row("tags-no-count", "A", _hides("x-amz-tagging-count")),
    _row("tag-count-zero", "A", lambda: Tells("x-amz-tagging-count", lambda: "0", READS)),
    _row("head-no-length", "A", _hides("content-length", HEADS)),
    _row("head-no-etag", "A", _hides("etag", HEADS)),
    _row("head-no-date", "A", _hides("last-modified|date", HEADS)),
    _row("head-length-zero", "A", lambda: Recodes("content-length", lambda _: "0", HEADS)),
    _row("write-no-etag", "A", _hides("etag", Which(("put", "part")))),
    _row("write-etag-other", "A", lambda: Tells("ETag", lambda: f'"{"0123456789abcdef" * 2}"', Which(("put", "copy"))), sides="d"),
    _row("no-version", "A", _hides("x-amz-version-id", Which(("put", "copy", "complete", "delete")))),
    _row("version-null", "A", lambda: Tells("x-amz-version-id", lambda: "null", READS)),
    _row("no-content-type", "A", _hides("content-type", READS), blinds="ContentType"),
    _row("charset-added", "A", lambda: Recodes("content-type", "{}; charset=UTF-8".format, READS), blinds="ContentType"),
    _row("charset-respelt", "A", lambda: Recodes("content-type", respelt, READS), blinds="ContentType"),
    _row("cache-control-told", "A", lambda: Tells("Cache-Control", lambda: "no-cache", READS), blinds="CacheControl"),
    _row("disposition-told", "A", lambda: Tells("Content-Disposition", lambda: "inline", READS), blinds="ContentDisposition"),
    _row("expires-zero", "A", lambda: Tells("Expires", lambda: "0", READS), blinds="ExpiresString"),
    _row("language-told", "A", lambda: Tells("Content-Language", lambda: "en", READS), blinds="ContentLanguage"),
    _row("etag-unquoted", "A", lambda: Recodes("etag", unquoted)),
    _row("etag-weak", "A", lambda: Recodes("etag", weak)),
    _row("etag-upper-case", "A", WritesEtags),
    _row("head-403", "A", _refuses(403, "AccessDenied", HEADS), sides="s"),
    _row("date-iso", "A", lambda: Recodes("last-modified", iso, READS)),
    _row("date-garbage", "A", lambda: Recodes("last-modified", lambda _: "yesterday", READS)),
    _row("names-upper-case", "A", lambda: Renames(str.upper)),
    # B: writes that keep less than they take
    _row("copy-tags", "B", _drops("x-amz-tagging|x-amz-tagging-directive", "copy"), sides="d"),
    _row("create-tags", "B", _drops("x-amz-tagging", "create"), sides="d"),
    _row("put-tags", "B", _drops("x-amz-tagging", "put"), sides="d"),
    _row("no-tags", "B", _refuses(501, "NotImplemented", Which(("tag",))), sides="d"),
    _row("create-metadata", "B", _drops("x-amz-meta-.*", "create"), sides="d"),
    _row("create-content-type", "B", _drops("content-type", "create"), sides="d"),
    _row("copy-metadata", "B", _drops("x-amz-meta-.*", "copy"), sides="d"),
    _row("meta-underscore", "B", _drops("x-amz-meta-.*_.*"), sides="d"),
    _row("meta-dot", "B", _drops(r"x-amz-meta-.*\..*"), sides="d"),
    _row("meta-digits", "B", _drops(r"x-amz-meta-.*\d.*"), sides="d"),
    _row("meta-folded", "B", lambda: Stores("x-amz-meta-.*", folded, Which(WRITES)), sides="d"),
    _row("meta-cut", "B", lambda: Stores("x-amz-meta-.*", lambda value: value[:20], Which(WRITES)), sides="d"),
    _row("no-language", "B", _drops("content-language"), sides="d"),
    _row("no-expires", "B", _drops("expires"), sides="d"),
    _row("no-disposition-in-parts", "B", _drops("content-disposition", "create"), sides="d"),
    _row("no-redirect", "B", _drops("x-amz-website-redirect-location"), sides="d"),
    _row("type-lower-case", "B", lambda: Stores("content-type", str.lower, Which(WRITES)), sides="d"),
    _row("encoding-identity", "B", lambda: Drops("content-encoding", Which(WRITES, header="content-encoding", value="identity")), sides="d"),
    _row("conditions-ignored", "B", lambda: Drops(CONDITIONS)),
    _row("conditions-refused", "B", _refuses(501, "NotImplemented", Which(header=CONDITIONS))),
    _row("conditions-412", "B", _refuses(412, "PreconditionFailed", Which(header="if-match|x-amz-copy-source-if-match")), sides="d"),
    _row("get-condition-412", "B", _refuses(412, "PreconditionFailed", Which(("get",), header="if-match")), sides="s"),
    _row("checksum-mode", "B", _refuses(400, "InvalidArgument", Which(header="x-amz-checksum-mode"))),
    _row("checksums-refused", "B", _refuses(400, "InvalidRequest", Which(WRITES, header="x-amz-checksum-.*")), sides="d"),
    _row("md5-refused", "B", _refuses(400, "InvalidDigest", Which(("put", "part"), header="content-md5")), sides="d"),
    _row("list-etag", "B", lambda: in_entries(rb"(<ETag>(?:&quot;|&#34;|\")?)[0-9a-f]{4}", rb"\1beef", OBJECTS)),
    _row("copies-refused", "B", _refuses(501, "NotImplemented", Which(("copy", "part-copy"))), sides="d"),
    _row("no-multipart", "B", _refuses(501, "NotImplemented", Which(("create",))), sides="d"),
    # C: answers of another cause, or in another order
    _row("shows-late", "C", lambda: ShowsLate(2), sides="d"),
    _row("complete-late", "C", lambda: ShowsLate(2, ("complete",)), sides="d"),
    _row("part-number-405", "C", _refuses(405, "MethodNotAllowed", Which(("get", "head"), query="partNumber"))),
    _row("html-once", "C", _stumbles(Answered(200, [("Content-Type", "text/html")], HTML), Which(("get", "list", "tag")))),
    _row("empty-once", "C", _stumbles(Answered(200, [("Content-Length", "0")]), Which(("get", "list", "complete", "copy")))),
    _row("lost-success", "C", _stumbles(refusal(500, "InternalError"), Which(("put", "complete", "copy", "part")), after=True), sides="d"),
    _row("lost-success-404", "C", _stumbles(refusal(404, "NoSuchUpload"), Which(("complete",)), after=True, every=1), sides="d"),
    # D: throttles that pass
    _row("throttled", "D", _stumbles(refusal(503, "SlowDown").having("Retry-After", "0"), EVERY, every=4)),
    _row("too-many", "D", _stumbles(Answered(429, [("Retry-After", "0")]), EVERY, every=5)),
    _row("internal-errors", "D", _stumbles(refusal(500, "InternalError"), EVERY, every=5)),
    _row("gateway-html", "D", _stumbles(Answered(502, [("Content-Type", "text/html")], HTML), EVERY, every=7)),
    # E: refusals without a word
    _row("bare-403-acl", "E", lambda: Refuses(403, "", Which(query="acl"))),
    _row("settings-500", "E", _refuses(500, "InternalError", Which(("bucket",)))),
    _row("settings-html", "E", lambda: Stumbles(Answered(200, [], HTML), Which(("bucket",)), times=1 << 30)),
    # F: listings
    _row("no-size", "F", lambda: in_entries(rb"<Size>[^<]*</Size>", b"")),
    _row("no-list-etag", "F", lambda: in_entries(rb"<ETag>[^<]*</ETag>", b"")),
    _row("no-list-date", "F", lambda: in_entries(rb"<LastModified>[^<]*</LastModified>", b"", OBJECTS)),
    _row("date-no-z", "F", lambda: in_entries(rb"Z</LastModified>", b"</LastModified>")),
    _row("date-offset", "F", lambda: in_entries(rb"Z</LastModified>", b"+0000</LastModified>")),
    _row("date-seconds", "F", lambda: in_entries(rb"\.\d+Z</LastModified>", b"Z</LastModified>", OBJECTS)),
    _row("class-empty", "F", lambda: in_entries(rb"<StorageClass>[^<]*<", b"<StorageClass><")),
    _row("lower-case-elements", "F", lambda: Rewrites(lambda b: re.sub(rb"(</?)(\w)", lambda f: f[1] + f[2].lower(), b), LISTS)),
    _row("prefixed-elements", "F", lambda: Rewrites(lambda b: re.sub(rb"(</?)(\w)", rb"\1s3:\2", b), LISTS)),
    _row("truncated-capital", "F", lambda: Rewrites(lambda b: b.replace(b">true<", b">True<").replace(b">false<", b">False<"), LISTS)),
    _row("no-truncated", "F", lambda: in_entries(rb"<IsTruncated>false</IsTruncated>", b"")),
    _row("no-key-count", "F", lambda: in_entries(rb"<KeyCount>\d+</KeyCount>", b"")),
    _row("bom", "F", lambda: Rewrites(lambda body: b"\xef\xbb\xbf" + body, LISTS)),
    _row("blank-before", "F", lambda: Rewrites(lambda body: b"\n  " + body, LISTS)),
    _row("gzipped-documents", "F", lambda: Packs(Which(("list", "list-versions", "tag", "list-parts")))),
    _row("chunked-documents", "F", lambda: Frames(Framing.CHUNKED)),
    _row("until-close", "F", lambda: Frames(Framing.CLOSE, Which(("list", "get", "tag")))),
    _row("small-pages", "F", lambda: SmallPages(2)),
    _row("page-of-one", "F", lambda: SmallPages(1)),
    _row("repeats-the-last", "F", RepeatsTheLast),
    _row("unencoded", "F", Unencoded),
    _row("v1-only", "F", _refuses(501, "NotImplemented", Which(query="list-type"))),
    _row("plus-unescaped", "F", lambda: in_entries(rb"%2B", b"+", OBJECTS)),
    _row("percent-20", "F", lambda: Rewrites(percent_20, LISTS)),
    _row("undeclared", "F", lambda: in_entries(rb"<EncodingType>url</EncodingType>", b"")),
    _row("bucket-upper-case", "F", lambda: Rewrites(lambda body: re.sub(rb"<Name>[^<]*<", lambda f: b"<Name>" + f[0][6:-1].upper() + b"<", body), LISTS)),
    # G: the way there
    _row("redirected-reads", "G", lambda: Redirects(307, Which(("get",)))),
    _row("redirected-writes", "G", lambda: Redirects(307, Which(("put", "part"))), sides="d"),
    _row("ignores-range", "G", IgnoresRange),
    _row("slash-refused", "G", _refuses(400, "InvalidObjectName", Which(key=r"/$")), sides="d"),
    _row("dots-refused", "G", _refuses(400, "InvalidObjectName", Which(key=r"(^|/)\.\.?(/|$)")), sides="d"),
    _row("double-slash-refused", "G", _refuses(400, "InvalidObjectName", Which(key=r"//|^/")), sides="d"),
    # H: one object
    _row("key-refused", "H", _refuses(400, "KeyTooLong", Which(("put", "create", "copy"), key=r".{200}")), sides="d"),
    _row("one-unreadable", "H", _refuses(500, "InternalError", Which(("get",), key=r"7")), sides="s"),
    _row("one-forbidden", "H", _refuses(403, "AccessDenied", Which(("get", "head"), key=r"5")), sides="s"),
)  # fmt: skip
BY_NAME = {row.name: row for row in CATALOGUE}
