"""What a command waits for before it does anything: only the libraries it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
        (("plan", "--help"), {"jsonschema"}),
    ],
)
def test_a_command_loads_what_it_needs_and_nothing_else(words: tuple[str, ...], allowed: set[str]) -> None:
    assert imported(words) <= allowed


def test_the_help_of_no_command_waits_for_what_opens_a_ledger_or_finds_credentials() -> None:
    assert not imported(*((name, "--help") for name in COMMANDS)) & {"sqlalchemy", "botocore"}


def test_plan_says_that_it_has_begun_before_it_loads_what_lists_probes_and_decides(tmp_path: Path) -> None:
    declaration = tmp_path / "migration.yaml"
    side = "{bucket: b, endpoint_url: 'http://127.0.0.1:1', region: us-east-1}"
    declaration.write_text(
        f"apiVersion: s3migrate/v1\nkind: Migration\nname: first\nsource: {side}\ndestination: {side[:9]}2{side[9:]}\n"
    )
    program = (
        "import os, sys\nfrom s3migrate.views.plan_progress import PlanLines\nfrom s3migrate.cli import cli\n"
        "def begun(lines, pairs):\n    print(pairs, *sys.modules)\n    sys.stdout.flush()\n    os._exit(0)\n"
        "PlanLines.probing = begun\n"
        f"cli(['plan', {str(declaration)!r}])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    pairs, *loaded = ran.stdout.split()
    assert pairs == "1"
    later = {*HEAVY, "planner.build", "storage.wire.wire", "storage.probe.destination"} - {"jsonschema"}
    assert not later & set(loaded)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_the_group_says_what_each_command_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert (command.name, command.get_short_help_str(limit=200)) == (name, COMMANDS[name][1])
