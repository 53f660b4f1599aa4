"""Which listed objects take part: globs, sizes, times, storage classes.

A glob is matched against the whole key after the source prefix, byte-exact and case-sensitive:

    *        any characters but '/', also none
    ?        one character but '/'
    [abc]    one of these, [a-z] a range, [!abc] none of these; never '/'
    **       any characters, '/' too, also none
    **/      at the start or after a '/': any number of whole leading segments, also none (`**/x` matches `x`)
    \\x       the character x itself

An unclosed '[' stands for itself. Bounds: min_size and max_size are inclusive; modified_after keeps what was
modified at that instant or later, modified_before what was modified earlier than it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from planner.reasons import Reason
from schema.declaration import Filters
from schema.errors import DeclarationError
from schema.objects import ListedEntry, UnsupportedEntry

Matcher = Callable[[str], object]
"""A truthy answer means that the key matches."""
Exclusion = Callable[[ListedEntry], Reason | None]
"""Why an object is excluded, or None."""

_EVERYTHING = ("**",)


def compile_globs(globs: Sequence[str]) -> Matcher:
    """One compiled matcher for "any of *globs*". Raises DeclarationError for a glob that cannot be compiled."""
    if not globs:
        return lambda _key: None
    for glob in globs:
        _compile(_translate(glob), glob)
    return _compile("|".join(_translate(glob) for glob in globs), ", ".join(globs)).fullmatch


def _compile(pattern: str, shown: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise DeclarationError(f"the glob {shown!r} is not valid: {error}; correct it") from None


def _translate(glob: str) -> str:
    """The regular expression of *glob*, without anchors."""
    out: list[str] = []
    at = 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**", at):
            end = at + 2
            while end < len(glob) and glob[end] == "*":
                end += 1
            whole_segments = (at == 0 or glob[at - 1] == "/") and glob.startswith("/", end)
            out.append("(?:.*/)?" if whole_segments else ".*")
            at = end + 1 if whole_segments else end
            continue
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\" and at < len(glob):
            out.append(re.escape(glob[at]))
            at += 1
        elif char == "[" and (end := glob.find("]", at + (2 if glob[at : at + 1] in ("!", "^") else 1))) > 0:
            out.append(_character_class(glob[at:end]))
            at = end + 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _character_class(inside: str) -> str:
    negated = inside[0] in "!^"
    members = inside[1:] if negated else inside
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members)
    return f"(?!/)[{'^' if negated else ''}{escaped}]"


def compile_key_filter(filters: Filters) -> Callable[[str], Reason | None] | None:
    """The include and exclude globs alone, over the key after the prefix; None when they let everything in."""
    included = None if filters.include == _EVERYTHING else compile_globs(filters.include)
    excluded = compile_globs(filters.exclude) if filters.exclude else None
    if included is None and excluded is None:
        return None

    def judge(key: str) -> Reason | None:
        if included is not None and not included(key):
            return Reason.NOT_INCLUDED
        if excluded is not None and excluded(key):
            return Reason.EXCLUDED_BY_GLOB
        return None

    return judge


def compile_filters(filters: Filters, prefix: str) -> Exclusion | None:
    """All of *filters* for objects listed under *prefix*; None when they let everything in.

    A delete marker has neither size nor class: only the globs and the times concern it. Of a key that cannot be
    migrated as listed only the name is certain: only the globs concern it.
    """
    by_key = compile_key_filter(filters)
    by_attributes = _attribute_filter(filters)
    if by_key is None:
        return by_attributes
    start = len(prefix)
    judge_key = by_key
    if by_attributes is None:
        return lambda item: judge_key(item.key[start:])
    judge_rest = by_attributes
    return lambda item: judge_key(item.key[start:]) or judge_rest(item)


def _attribute_filter(filters: Filters) -> Exclusion | None:
    lowest, highest = filters.min_size, filters.max_size
    after, before = filters.modified_after_ms, filters.modified_before_ms
    classes = None if filters.storage_classes is None else frozenset(filters.storage_classes)
    if all(bound is None for bound in (lowest, highest, after, before, classes)):
        return None

    def judge(item: ListedEntry) -> Reason | None:
        if isinstance(item, UnsupportedEntry):
            return None
        if after is not None and item.modified_ms < after:
            return Reason.TOO_OLD
        if before is not None and item.modified_ms >= before:
            return Reason.TOO_NEW
        if item.delete_marker:
            return None
        if lowest is not None and item.size < lowest:
            return Reason.BELOW_MIN_SIZE
        if highest is not None and item.size > highest:
            return Reason.ABOVE_MAX_SIZE
        if classes is not None and item.storage_class not in classes:
            return Reason.OTHER_CLASS
        return None

    return judge
