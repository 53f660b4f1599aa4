"""JSON Schema validation that lists every complaint with its file, line and path."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from schema.formats.yaml_strict import Lines

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_COMPLAINTS = 50


@cache
def schema_text(name: str) -> str:
    """The text of a JSON Schema shipped with the package: 'plan-v1.schema.json', 'migration-v1.schema.json'."""
    return resources.files("schema").joinpath("json", name).read_text(encoding="utf-8")


@cache
def _validator(name: str) -> Any:
    # Imported here, and below: the import takes longer than all else in commands that validate nothing.
    from jsonschema import Draft202012Validator, validators

    ours: Any = validators.extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return ours(json.loads(schema_text(name)))


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """JSON Schema's `pattern`, with a `$` that means the end: Python's allows a trailing line feed."""
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not re.search(re.sub(r"\$\Z", r"\\Z", pattern), instance):
        yield ValidationError("does not match")


def complaints(name: str, document: Any, lines: Lines) -> list[str]:
    """Everything schema *name* finds wrong with *document*, as 'file:line: path: message', in line order.

    Values are never echoed: a misplaced one may be a secret. At most MAX_COMPLAINTS, then the number of the others.
    """
    found: dict[str, int] = {}
    for error in _leaves(_validator(name).iter_errors(document)):
        for path, message in _explain(error):
            text = f"{lines.where(path)}: {path_text(path)}: {message}"
            found.setdefault(text, lines.at(path))
    ordered = sorted(found, key=lambda text: found[text])
    if len(ordered) > MAX_COMPLAINTS:
        return [*ordered[:MAX_COMPLAINTS], f"... and {len(ordered) - MAX_COMPLAINTS} more"]
    return ordered


def path_text(path: tuple[str | int, ...]) -> str:
    """'buckets[2].source.bucket'; 'the document' for the root. Long or odd keys are shortened and escaped."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if step.replace("-", "_").replace(".", "_").isidentifier() and step.isascii() else repr(step)
            text += ("." if text else "") + name[:60]
    return text or "the document"


def _leaves(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    """When no alternative fits, the complaints of the branch that was probably meant."""
    for error in errors:
        if error.validator in ("anyOf", "oneOf") and error.context:
            yield from _leaves(iter(_closest_branch(error.context)))
        else:
            yield error


def _closest_branch(context: list[ValidationError]) -> list[ValidationError]:
    branches: dict[Any, list[ValidationError]] = {}
    for error in context:
        branches.setdefault(error.schema_path[0], []).append(error)
    return min(
        branches.values(), key=lambda errors: (any(e.validator == "type" and not e.path for e in errors), len(errors))
    )


def _explain(error: ValidationError) -> Iterator[tuple[tuple[str | int, ...], str]]:
    path = tuple(error.absolute_path)
    wanted: Any = error.validator_value
    rules: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties" and isinstance(instance, Mapping):
        known = list(rules.get("properties", ()))
        prefixes = tuple(rules.get("patternProperties", ()))
        for name in instance:
            if name not in known and not ("^x-" in prefixes and name.startswith("x-")):
                close = difflib.get_close_matches(name, known, 1)
                yield (*path, name), "unknown key" + (f"; did you mean {close[0]}?" if close else "")
    elif error.validator == "required":
        missing = [name for name in wanted if name not in instance]
        yield path, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    elif rules.get("x-expected") and error.validator in ("pattern", "type"):
        yield path, f"must be {rules['x-expected']}"
    else:
        yield path, _MESSAGES.get(str(error.validator), _fallback)(wanted, error)


def _fallback(wanted: Any, error: ValidationError) -> str:
    return f"does not fit ({error.validator}: {json.dumps(wanted)[:120]})"


def _type_message(wanted: Any, _error: ValidationError) -> str:
    kinds = [wanted] if isinstance(wanted, str) else list(wanted)
    return "must be " + " or ".join(_KINDS[kind] for kind in kinds)


_KINDS = {
    "object": "a map",
    "array": "a list",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}


def _enum_message(wanted: Any, error: ValidationError) -> str:
    close = difflib.get_close_matches(str(error.instance), [str(item) for item in wanted], 1)
    return f"must be one of {', '.join(map(str, wanted))}" + (f"; did you mean {close[0]}?" if close else "")


def _one_of_message(wanted: Any, _error: ValidationError) -> str:
    return "give either " + ", or ".join(" and ".join(branch.get("required", ())) for branch in wanted) + ", not both"


_MESSAGES: Mapping[str, Callable[[Any, ValidationError], str]] = {
    "type": _type_message,
    "enum": _enum_message,
    "oneOf": _one_of_message,
    "const": lambda wanted, _: f"must be {wanted}",
    "minimum": lambda wanted, _: f"must be at least {wanted:,}",
    "exclusiveMinimum": lambda wanted, _: f"must be more than {wanted:,}",
    "maximum": lambda wanted, _: f"must be at most {wanted:,}",
    "minItems": lambda wanted, _: f"must have at least {wanted} item{'s' if wanted != 1 else ''}",
    "maxItems": lambda wanted, _: f"must have at most {wanted} items",
    "minLength": lambda _wanted, _: "must not be empty",
    "maxLength": lambda wanted, _: f"must have at most {wanted} characters",
    "uniqueItems": lambda _wanted, _: "must not name anything twice",
}
