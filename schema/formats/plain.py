"""Typed values to plain documents (maps, lists, text, integers, booleans) and back, by their declared types.

Serves the plan document and the declaration alike, so that a field added to a type is written and read everywhere.
A field that is None is left out; a float becomes decimal text, because documents hold no floats.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class TextValue(ABC):
    """A value that a document holds as text: str(value) is written, and `parse` reads it back."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """The value *text* means. ValueError."""


def plain(value: Any) -> Any:
    """*value* as a plain document; dataclasses and named tuples become maps in field order."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (str, TextValue)):
        return str(value)
    if isinstance(value, float):
        return decimal_text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        names = list(value._fields)
    elif isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    else:
        raise TypeError(f"{type(value).__name__} has no plain form")
    items = ((name, getattr(value, name)) for name in names)
    return {name: plain(item) for name, item in items if item is not None}


def decimal_text(number: float) -> str | int:
    """A float as a document holds it: an integer where it is one, decimal text otherwise."""
    return int(number) if number.is_integer() else format(Decimal(repr(number)), "f")


def build(kind: type[T], document: Any) -> T:
    """A *kind* made of a plain *document*. ValueError names the field that does not fit; unknown fields do not fit."""
    result: T = _build(kind, document, "")
    return result


def _build(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        return _build(next(argument for argument in arguments if argument is not NoneType), value, path)
    if origin is tuple:
        return _build_tuple(arguments, value, path)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{path or 'the document'}: expected a map")
        return {key: _build(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, TextValue):
        return _build_text(kind, value, path)
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        return _build_record(kind, value, path)
    return _build_scalar(kind, value, path)


def _build_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{path}: expected a list")  # noqa: TRY004 - the document is wrong, not the call
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_build(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if len(arguments) != len(value):
        raise ValueError(f"{path}: expected a list of {len(arguments)}")
    pairs = zip(arguments, value, strict=True)
    return tuple(_build(argument, item, f"{path}[{index}]") for index, (argument, item) in enumerate(pairs))


def _build_record(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path or 'the document'}: expected a map")  # noqa: TRY004 - the document is wrong
    hints = _hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise ValueError(f"{path}.{unknown[0]}: unknown field".lstrip("."))
    fields = {name: _build(hints[name], item, f"{path}.{name}".lstrip(".")) for name, item in value.items()}
    for name in hints.keys() - fields.keys():
        if name not in _defaults(kind):
            if NoneType not in get_args(hints[name]):
                raise ValueError(f"{path}.{name}: missing".lstrip("."))
            fields[name] = None
    return kind(**fields)


def _build_text(kind: type[TextValue], value: Any, path: str) -> TextValue:
    text = _build_scalar(str, value, path)
    try:
        return kind.parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _build_scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is float:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            try:
                return float(value)
            except (ValueError, OverflowError):
                pass
        raise ValueError(f"{path}: expected a number")
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{path}: {str(value)[:60]!r} is not one of {', '.join(kind)}") from None
    if type(value) is not kind:
        raise ValueError(f"{path}: expected {_NAMES.get(kind, kind)}")
    return value


_NAMES: Mapping[Any, str] = {str: "text", int: "an integer", bool: "true or false"}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _defaults(kind: type) -> frozenset[str]:
    if dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        fields = dataclasses.fields(kind)
        return frozenset(f.name for f in fields if f.default is not missing or f.default_factory is not missing)
    return frozenset(kind._field_defaults)  # type: ignore[attr-defined]
