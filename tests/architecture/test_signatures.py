"""The shape of calls: few parameters, fewer by position, and no result handed over by way of `nonlocal`."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from typing import NamedTuple

from support.sources import ROOT, product_files, product_nodes, tree

MOST_PARAMETERS = 5
MOST_BY_POSITION = 3

MORE_PARAMETERS: dict[str, str] = {
    "s3migrate/commands/apply.py:apply_command": "click passes one argument for each option",
    "s3migrate/commands/proof/certify.py:certify_command": "click passes one argument for each option",
    "s3migrate/commands/plan.py:plan_command": "click passes one argument for each option",
    "s3migrate/commands/verify.py:verify_command": "click passes one argument for each option",
    "storage/wire/signer.py:sign": "the parts of a canonical request; a record would only be made and taken apart",
    "s3migrate/commands/show.py:show_command": "click passes one argument for each option",
    "schema/errors.py:__init__": "the facts of one answer, all optional and named; an error is the record",
}
"""path:name -> why a record would say less. At most ten in the whole product."""
MORE_BY_POSITION: dict[str, str] = {
    "schema/formats/validation.py:_pattern": "jsonschema calls it so",
}
"""path:name -> why its callers name none of them."""


class Signature(NamedTuple):
    """How many parameters a function takes, `self` and `cls` left out."""

    place: str
    """path:name"""
    by_position: int
    in_all: int


def functions(
    node: ast.AST, *, in_class: bool = False
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function below *node*, and whether it is a method that is called on an instance or a class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in child.decorator_list)
            yield child, in_class and not static
            yield from functions(child)
        else:
            yield from functions(child, in_class=isinstance(child, ast.ClassDef))


@functools.cache
def signatures() -> list[Signature]:
    """Of every function of the product."""
    found = []
    for path in product_files():
        for function, bound in functions(tree(path)):
            words = function.args
            by_position = len(words.posonlyargs) + len(words.args) - bound
            place = f"{path.relative_to(ROOT).as_posix()}:{function.name}"
            found.append(Signature(place, by_position, by_position + len(words.kwonlyargs)))
    return found


def test_the_functions_of_the_product_are_found() -> None:
    found = {signature.place: signature for signature in signatures()}
    assert len(found) > 1000
    assert found["executor/copy/upload.py:sweep_uploads"][1:] == (3, 4)
    assert found["executor/attempts.py:run"][1:] == (3, 3)


def test_no_function_takes_more_than_five_parameters() -> None:
    many = {signature.place for signature in signatures() if signature.in_all > MOST_PARAMETERS}
    assert many - MORE_PARAMETERS.keys() == set()
    assert MORE_PARAMETERS.keys() <= many, "an allowance nobody needs any more"
    assert len(MORE_PARAMETERS) <= 10 and all(MORE_PARAMETERS.values())


def test_no_function_takes_more_than_three_by_position() -> None:
    many = {signature.place for signature in signatures() if signature.by_position > MOST_BY_POSITION}
    assert many - MORE_BY_POSITION.keys() == set()
    assert MORE_BY_POSITION.keys() <= many, "an allowance nobody needs any more"
    assert all(MORE_BY_POSITION.values())


def test_results_are_returned_and_not_left_in_an_outer_variable() -> None:
    strays = {path.relative_to(ROOT).as_posix() for path, node in product_nodes() if isinstance(node, ast.Nonlocal)}
    assert strays == set()
