"""What a command waits for before it does anything: only the libraries it needs."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from s3migrate.cli import COMMANDS, cli

HEAVY = ("sqlalchemy", "psycopg2", "networkx", "jsonschema", "botocore", "pycurl", "awscrt", "executor.apply.runner")


def imported(*lines: tuple[str, ...]) -> set[str]:
    """Which of HEAVY a process has loaded when the command line has answered each of *lines*."""
    program = (
        "import sys\nfrom s3migrate.cli import cli\n"
        f"for words in {lines!r}:\n"
        "    try: cli(words)\n    except SystemExit as end: assert not end.code, words\n"
        f"print('loaded', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (("--help",), set()),
        (("--version",), set()),
        (("init", "--help"), set()),
        (("show", "--help"), {"jsonschema"}),
        (("status", "--help"), {"psycopg2"}),
        (("plan", "--help"), {"jsonschema", "pycurl", "awscrt"}),
    ],
)
def test_a_command_loads_what_it_needs_and_nothing_else(words: tuple[str, ...], allowed: set[str]) -> None:
    assert imported(words) <= allowed


def test_the_help_of_no_command_waits_for_what_opens_a_ledger_or_finds_credentials() -> None:
    assert not imported(*((name, "--help") for name in COMMANDS)) & {"sqlalchemy", "botocore"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_the_group_says_what_each_command_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert (command.name, command.get_short_help_str(limit=200)) == (name, COMMANDS[name][1])
