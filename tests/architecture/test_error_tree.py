"""The error tree answers every question the executor and the shell ask of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from s3migrate.cli import cli
from schema import errors
from schema.errors import LedgerError, MigrationError, Scope, StoreError
from schema.exit_codes import ExitCode

README = Path(__file__).parents[2] / "README.md"


def leaves(root: type[MigrationError]) -> list[type[MigrationError]]:
    """The classes that are raised: those without subclasses."""
    below = root.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [root]


@pytest.mark.parametrize("leaf", leaves(StoreError), ids=lambda leaf: leaf.__name__)
def test_every_store_error_answers_retryable_and_scope(leaf: type[StoreError]) -> None:
    assert isinstance(getattr(leaf, "retryable", None), bool)
    assert isinstance(leaf.scope, Scope)


@pytest.mark.parametrize("leaf", leaves(LedgerError), ids=lambda leaf: leaf.__name__)
def test_every_ledger_error_answers_retryable(leaf: type[LedgerError]) -> None:
    assert isinstance(getattr(leaf, "retryable", None), bool)


@pytest.mark.parametrize("leaf", leaves(MigrationError), ids=lambda leaf: leaf.__name__)
def test_every_error_has_an_exit_code_and_says_what_it_is(leaf: type[MigrationError]) -> None:
    assert 1 <= leaf.exit_code <= 125
    assert leaf.__doc__ and leaf.__doc__.strip().endswith(".")


def test_errors_are_raised_with_their_facts() -> None:
    error = errors.Throttled("busy", operation="GetObject", key="a", status=503, code="SlowDown", retry_after=2.0)

    assert (str(error), error.key, error.status, error.retry_after) == ("busy", "a", 503, 2.0)


def test_the_readme_lists_every_exit_code() -> None:
    """A table row per code: `| 3 | ... |`, also `| `75` | ... |`."""
    told = {int(code) for code in re.findall(r"^\|\s*`?(\d+)`?\s*\|", README.read_text(), flags=re.MULTILINE)}
    used = {leaf.exit_code for leaf in leaves(MigrationError)}

    assert sorted(used - told) == []


def test_the_readme_prints_the_table_of_exit_codes() -> None:
    text = README.read_text("utf-8")
    table = text.partition("<!-- exit codes -->\n")[2].partition("<!-- end of exit codes -->")[0]
    assert table.splitlines() == [
        "| exit | meaning | a scheduler |",
        "|--:|---|---|",
        *(f"| {code} | {code.meaning} | {code.then.value} |" for code in ExitCode),
    ]


def test_help_prints_the_table_of_exit_codes() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert [code for code in ExitCode if f"\n    {code:<4}{code.meaning}\n" not in shown] == []


def test_every_exit_code_has_an_error_or_an_end_without_one() -> None:
    without_an_error = {ExitCode.DONE, ExitCode.CHANGES}
    assert {error.exit_code for error in leaves(MigrationError)} == set(ExitCode) - without_an_error
