"""Processes that are forked before anything is open: they begin when they are told to, or not at all.

Each test is a script in a process of its own: only a process with a single thread is forked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
PATIENCE = 60.0
BEGIN = """
import os, sys, threading
from s3migrate.applying.prefork import prefork
"""


def script(text: str) -> list[str]:
    """The command that runs *text*."""
    return [sys.executable, "-c", BEGIN + textwrap.dedent(text)]


def said(text: str) -> str:
    """What the script printed."""
    ran = subprocess.run(
        script(text), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_each_runs_once_released_and_is_heard() -> None:
    told = said("""
        def run():
            print("out of", os.getppid() == parent, os.getsid(0) == os.getpid(), sys.stdin.read() == "")
            print("trouble", file=sys.stderr)
            return 7
        parent = os.getpid()
        with prefork(run, 3) as waiting:
            begun = waiting.release()
            for process in begun:
                print(process.stdout.read(), process.stderr.read(), process.wait(), process.poll())
            process.send_signal(9)  # to one that has ended: nothing
    """)
    assert told.split("\n") == ["out of True True True", " trouble", " 7 7"] * 3 + [""]


def test_one_that_was_not_released_runs_nothing() -> None:
    told = said("""
        def run():
            os.write(inherited, b"it ran")
            return 0
        inherited = os.dup(1)
        with prefork(run, 2):
            print("refused")
        try:
            os.wait()
        except ChildProcessError:
            print("none left behind")
    """)
    assert told == "refused\nnone left behind\n"


def test_a_process_that_raises_ends_with_the_code_of_a_bug() -> None:
    assert (
        said("""
        def run():
            raise RuntimeError
        with prefork(run, 1) as waiting:
            print(waiting.release()[0].wait())
    """)
        == "1\n"
    )


def test_none_is_forked_of_a_process_with_threads() -> None:
    told = said("""
        done = threading.Event()
        other = threading.Thread(target=done.wait)
        other.start()
        print(prefork(lambda: 0, 2))
        done.set()
        other.join()
        while len(os.listdir("/proc/self/task")) > 1:
            pass  # the kernel is a little later than join
        with prefork(lambda: 0, 2) as waiting:
            print(type(waiting).__name__)
    """)
    assert told == "None\nPrefork\n"


def test_those_that_wait_end_with_their_parent() -> None:
    """The pipe is read to its end: no process holds its other end any more."""
    waiting = script("""
        import time
        inherited = os.dup(1)
        with prefork(lambda: 0, 2):
            os.write(1, b"waiting")
            time.sleep(600)
    """)
    with subprocess.Popen(waiting, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert os.read(parent.stdout.fileno(), 100) == b"waiting"
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == b""


def test_a_process_that_nobody_may_wait_for_has_ended_somehow() -> None:
    """Under a parent that ignores SIGCHLD, as some supervisors do."""
    assert (
        said("""
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with prefork(lambda: 3, 1) as waiting:
            print(waiting.release()[0].wait())
    """)
        == "0\n"
    )


def test_one_that_is_stopped_is_ended_with_the_rest() -> None:
    assert (
        said("""
        import signal
        with prefork(lambda: 0, 2) as waiting:
            os.kill(waiting._waiting[0].pid, signal.SIGSTOP)
        print("over")
    """)
        == "over\n"
    )


def test_it_holds_no_descriptor_of_its_parent() -> None:
    told = said("""
        def run():
            print(sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")))
            return 0
        held = [os.dup(0) for _ in range(20)]
        with prefork(run, 2) as waiting:
            for process in waiting.release():
                print(process.stdout.read().strip(), process.wait())
    """)
    assert told == "[0, 1, 2] 0\n" * 2


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_a_parent_without_standard_streams_has_children_with_them(closed: tuple[int, ...], tmp_path: Path) -> None:
    command = script(f"""
        import pathlib
        def run():
            print("out")
            print("err", file=sys.stderr)
            return len(sys.stdin.read())
        with prefork(run, 2) as waiting:
            ended = [(each.stdout.read(), each.stderr.read(), each.wait()) for each in waiting.release()]
        pathlib.Path({str(tmp_path / "told")!r}).write_text(repr(ended))
    """)
    shell = "exec " + " ".join(f"{number}<&-" for number in closed) + '; exec "$@"'
    subprocess.run(["sh", "-c", shell, "sh", *command], cwd=ROOT, timeout=PATIENCE, check=True)
    assert (tmp_path / "told").read_text() == repr([("out\n", "err\n", 0)] * 2)
