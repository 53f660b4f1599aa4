"""The subset of YAML that a reviewed document needs: a loader that refuses everything else, and a writer whose output
it always reads back.

Refused: anchors, aliases, tags, merge keys, directives, a second document, duplicate or non-text keys, more than
MAX_DEPTH levels, MAX_NODES nodes or MAX_SIZE bytes. A plain scalar is true, false, null, empty (null) or a decimal
integer, and text otherwise: `no`, `12:30`, `2025-01-01`, `017` and `1.5` all stay what was typed, where YAML 1.1
would read False, 750, a date, 15 and a float.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from schema.errors import DeclarationError, MigrationError

MAX_SIZE = 4 * 1024 * 1024
MAX_DEPTH = 12
MAX_NODES = 200_000

Path = tuple[str | int, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\Z")
_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "": None}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Lines:
    """Where each node of a loaded document stands."""

    def __init__(self, source: str) -> None:
        self.source = source
        """What the document is called in messages: a path."""
        self._lines: dict[Path, int] = {}

    def record(self, path: Path, line: int) -> None:
        """Record that the node at *path* begins on *line* (from 1)."""
        self._lines[path] = line

    def has(self, path: Path) -> bool:
        """Whether there is a node at *path*."""
        return path in self._lines

    def at(self, path: Path) -> int:
        """The line of *path*, or of its nearest ancestor that is there; 1 when nothing is."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def where(self, path: Path) -> str:
        """'file:line' of *path*."""
        return f"{self.source}:{self.at(path)}"


def load(text: bytes, source: str, error: type[MigrationError] = DeclarationError) -> tuple[Any, Lines]:
    """The document in *text* (null when it is empty) and the lines of its nodes.

    Raises *error* with 'source:line: what' for anything outside the restricted language above.
    """
    if len(text) > MAX_SIZE:
        raise error(f"{source}:1: the document has {len(text):,} bytes; at most {MAX_SIZE:,} are read")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = text.count(b"\n", 0, fault.start) + 1
        raise error(f"{source}:{line}: not UTF-8 (byte {text[fault.start]:#04x})") from None
    reader = _Reader(source, error)
    try:
        for event in yaml.parse(decoded, Loader=_Loader):
            reader.take(event)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line = 1 if mark is None else mark.line + 1
        raise error(f"{source}:{line}: {fault.problem or fault.context or 'not YAML'}") from None
    except yaml.reader.ReaderError as fault:
        line = decoded.count("\n", 0, fault.position) + 1
        raise error(f"{source}:{line}: a character that YAML does not allow unescaped") from None
    except yaml.YAMLError:
        raise error(f"{source}:1: not YAML") from None
    return reader.document, reader.lines


class _Reader:
    """Builds values from parser events and refuses while reading, so that a YAML bomb never expands."""

    def __init__(self, source: str, error: type[MigrationError]) -> None:
        self.document: Any = None
        self.lines = Lines(source)
        self._error = error
        self._documents = 0
        self._nodes = 0
        self._open: list[dict[str, Any] | list[Any]] = []
        self._path: list[str | int] = []
        self._keys: list[str | None] = []
        """Per open collection: the key whose value is awaited; always None in a list."""

    def take(self, event: yaml.Event) -> None:
        """One parser event."""
        if isinstance(event, yaml.ScalarEvent):
            self._count(event)
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._count(event)
            self._start(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._open.pop()
            self._keys.pop()
            if self._path:
                self._path.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(event, "aliases are not allowed; write the value out")
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(event, "only one document is allowed in a file")
            if event.version or event.tags:
                self._refuse(event, "% directives are not allowed")

    def _refuse(self, event: yaml.Event, why: str) -> None:
        raise self._error(f"{self.lines.source}:{_line_of(event)}: {why}")

    def _count(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES:,} values")
        if event.anchor is not None:
            self._refuse(event, "anchors are not allowed; write the value out")
        if event.tag is not None:
            self._refuse(event, "tags (!...) are not allowed")

    def _start(self, event: yaml.CollectionStartEvent, value: dict[str, Any] | list[Any]) -> None:
        if self._awaits_key():
            self._refuse(event, "a key must be text")
        if len(self._open) >= MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        is_root = not self._open
        step = self._place(value, event)
        self._open.append(value)
        self._keys.append(None)
        if not is_root:
            self._path.append(step)

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], dict) and self._keys[-1] is None

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        text: str = event.value
        if _SURROGATE.search(text):
            self._refuse(event, "a lone surrogate is not a character")
        plain = not event.style
        if not self._awaits_key():
            self._place(_plain_value(text) if plain else text, event)
            return
        if plain and text in ("<<", ""):
            self._refuse(event, "merge keys (<<) are not allowed" if text else "a key is missing before ':'")
        holder = self._open[-1]
        if text in holder:
            self._refuse(event, f"the key {text[:60]!r} is there twice")
        self._keys[-1] = text
        self.lines.record((*self._path, text), _line_of(event))

    def _place(self, value: Any, event: yaml.Event) -> str | int:
        """Put *value* in its place and return its step there; that of the root is 0 and has no meaning."""
        if not self._open:
            self.document = value
            self.lines.record((), _line_of(event))
            return 0
        holder = self._open[-1]
        if isinstance(holder, list):
            holder.append(value)
            self.lines.record((*self._path, len(holder) - 1), _line_of(event))
            return len(holder) - 1
        key = self._keys[-1]
        assert key is not None  # noqa: S101 - _start and _scalar asked _awaits_key first
        self._keys[-1] = None
        holder[key] = value
        return key


def _line_of(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


def _plain_value(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return int(text) if _INTEGER.match(text) else text


# Writing

WIDTH = 120
_MAX_KEY = 512
"""libyaml gives up on a key longer than 1,024 characters."""
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_/.][A-Za-z0-9]+)*\Z")
_RESERVED = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump(document: Mapping[str, Any]) -> str:
    """*document* as text that load() reads back equal: the same document is always the same text.

    Only text that every YAML reader reads as a string goes unquoted; all other text is in double quotes, with
    whatever is not printable escaped. Small maps and lists go on one line, and a list's item of scalars that is too
    wide is filled over several. ValueError for what load() could not give back: floats, lone surrogates, integers of
    more than 19 digits, over-long keys, more than MAX_DEPTH levels.
    """
    if not document:
        return "{}\n"
    out: list[str] = []
    after_block = False
    for key, value in document.items():
        lines = list(_entry(key, value, indent=0, depth=1))
        is_block = len(lines) > 1
        if out and (is_block or after_block):
            out.append("")
        out.extend(lines)
        after_block = is_block
    return "\n".join(out) + "\n"


def quote(text: str) -> str:
    """*text* in double quotes, on one line, with JSON's escapes (and \\UXXXXXXXX, where JSON has none)."""
    if _SURROGATE.search(text):
        raise ValueError(f"{text[:60]!r} holds a lone surrogate; YAML cannot hold it")
    if text.isprintable():
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _scalar_text(value: Any) -> str | None:
    """The spelling of a scalar, or None for a map or list."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        text = str(int(value))
        if not _INTEGER.match(text):
            raise ValueError(f"{text[:40]} has too many digits for a document")
        return text
    if isinstance(value, str):
        is_word = len(value) <= WIDTH and value.isascii() and _WORD.match(value) and value.lower() not in _RESERVED
        return str(value) if is_word else quote(value)
    if isinstance(value, (Mapping, list, tuple)):
        return None
    raise ValueError(f"{type(value).__name__} cannot be written into a document")


def _key_text(key: Any) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY:
        raise ValueError(f"{str(key)[:60]!r} cannot be a key of a document")
    text = _scalar_text(key)
    assert text is not None  # noqa: S101 - a str is a scalar
    return text


def _flow(value: Any, depth: int) -> str:
    scalar = _scalar_text(value)
    if scalar is not None:
        return scalar
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key_text(key)}: {_flow(item, depth + 1)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(_flow(item, depth + 1) for item in value) + "]"


def _entry(key: str, value: Any, *, indent: int, depth: int) -> Iterator[str]:
    """The lines of one key of a block map."""
    head = f"{' ' * indent}{_key_text(key)}:"
    flow = _flow(value, depth + 1)
    if (
        _scalar_text(value) is not None
        or not value
        or (len(head) + 1 + len(flow) <= WIDTH and not _is_list_of_maps(value))
    ):
        yield f"{head} {flow}"
        return
    yield head
    yield from _block(value, indent + 2, depth + 1)


def _is_list_of_maps(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value)


def _block(value: Mapping[str, Any] | list[Any], indent: int, depth: int) -> Iterator[str]:
    """The lines of a map or list that does not go on one."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(key, item, indent=indent, depth=depth)
        return
    margin = " " * indent
    for item in value:
        flow = _flow(item, depth + 1)
        if _scalar_text(item) is not None or not item or len(margin) + 2 + len(flow) <= WIDTH:
            yield f"{margin}- {flow}"
        elif isinstance(item, Mapping) and not any(
            isinstance(part, Mapping) or _is_list_of_maps(part) for part in item.values()
        ):
            yield from _filled(item, indent, depth + 1)
        else:
            lines = list(_block(item, indent + 2, depth + 1))
            yield f"{margin}- {lines[0].lstrip(' ')}"
            yield from lines[1:]


def _filled(item: Mapping[str, Any], indent: int, depth: int) -> Iterator[str]:
    """A wide map in a list, in flow style over as few lines as its parts allow."""
    margin = " " * (indent + 3)
    line = f"{' ' * indent}- {{"
    parts = [f"{_key_text(key)}: {_flow(value, depth + 1)}" for key, value in item.items()]
    for number, part in enumerate(parts):
        piece = part + ("}" if number == len(parts) - 1 else ",")
        if number and len(line) + 1 + len(piece) > WIDTH:
            yield line
            line = margin + piece
        else:
            line += (" " if number else "") + piece
    yield line
