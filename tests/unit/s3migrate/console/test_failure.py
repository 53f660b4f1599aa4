"""How a command line ends."""

from __future__ import annotations

import os
import signal

import click
import pytest

from s3migrate.console.failure import run_click
from schema.exit_codes import ExitCode


@click.command()
def waits() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.sigtimedwait([], 10)
    raise AssertionError("SIGTERM was not heard")


def test_sigterm_ends_a_command_as_ctrl_c_does(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert run_click(waits, []) == ExitCode.STOPPED
        assert capsys.readouterr().err.strip() == "s3migrate: interrupted"
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_caller_that_handles_sigterm_goes_on_handling_it() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        assert run_click(click.Command("kills", callback=lambda: os.kill(os.getpid(), signal.SIGTERM)), []) == 0
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
