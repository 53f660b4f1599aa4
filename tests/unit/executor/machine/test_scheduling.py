"""An apply process is batch work to the kernel, where the kernel lets it be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.operator import ROOT

from executor.machine.processor import schedule_as_batch

PROGRAM = """
import os, sys, threading
from executor.machine.processor import schedule_as_batch
if sys.argv[1] == "idle":
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
said = schedule_as_batch()
seen = []
thread = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
print(said, os.sched_getscheduler(0), *seen)
"""


def told(chosen: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, chosen], cwd=ROOT, capture_output=True, text=True, check=True)
    return ran.stdout.split()


def test_the_process_and_its_threads_are_batch_work() -> None:
    assert told("usual") == ["True", str(os.SCHED_BATCH), str(os.SCHED_BATCH)]


def test_a_policy_that_somebody_chose_stays() -> None:
    assert told("idle") == ["False", str(os.SCHED_IDLE), str(os.SCHED_IDLE)]


def test_a_kernel_that_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert schedule_as_batch() is False
