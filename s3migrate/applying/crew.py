"""apply --processes N: the same command N times on this machine, shown as one.

The parent moves nothing: it starts the processes, forwards signals, replaces those that die, and shows the ledger's
progress of the run. The processes report to it in JSON lines. The ledger alone divides the work, so processes of other
machines, or started by hand, may join and leave at any time.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executor.events import Events, ObjectTrouble
from executor.ledger.ledger import Ledger
from executor.ledger.values import Progress
from executor.stop import Stop
from s3migrate.applying.prefork import Prefork, Process
from schema.errors import ConnectionFailed, FinishedWithFailures, LedgerUnavailable, Stopped
from schema.formats.quantities import counted_text
from schema.process_view import ProcessView, endpoints_of

POLL_SECONDS = 0.1
PROGRESS_SECONDS = 1.0
REPLACED_EACH = 3
"""Replacements of dead processes, per process asked for; more deaths mean that the machine is at fault."""
STDERR_LINES = 60
_DIED = frozenset({1})
"""Exit codes that, like a signal, mean that the process crashed, not that the run was refused."""
_ENDED = frozenset({0, FinishedWithFailures.exit_code})
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Ask the kernel for a SIGTERM when *parent* ends, so that no process goes on unattended. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(slots=True)
class Child:
    """One process and its latest report."""

    process: Process
    flow: ProcessView | None = None
    """None: it has not reported yet."""
    diagnostic: Mapping[str, Any] | None = None
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=STDERR_LINES))
    readers: list[threading.Thread] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recruits:
    """The processes that are to carry out a run."""

    command: Sequence[str]
    """What starts one anew: each of them where none wait, and those that take the place of dead ones."""
    count: int
    waiting: Prefork | None
    """Those forked already."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the processes ended, taken together."""

    ended: bool
    """One of them completed the run, or its part of it."""
    refused: Mapping[str, Any] | None = None
    """The diagnostic of the first process that was refused or met a run-wide error."""
    broken: Sequence[str] = ()
    """The last output of the process for which no replacement was left."""


class Crew:
    """The processes of a run, supervised; *note(text)* is called on deaths and replacements."""

    def __init__(self, recruits: Recruits, *, events: Events, stop: Stop, note: Callable[[str], None]) -> None:
        self._command = list(recruits.command)
        self._events = events
        self._stop = stop
        self._note = note
        self._replacements = recruits.count * REPLACED_EACH
        self._waiting: dict[str, set[int]] = {}
        self._lock = threading.Lock()
        self._signals_sent = 0
        self._ended = False
        self._refused: Mapping[str, Any] | None = None
        self._broken: Sequence[str] = ()
        forked = recruits.waiting.release() if recruits.waiting else []
        self._children = [self._read(process) for process in forked] or [self._start() for _ in range(recruits.count)]

    def run(self, progress: Callable[[], Progress | None]) -> Ending:
        """Return when every process has ended; *progress* is called about once a second."""
        rounds = 0
        while self._children:
            if self._stop.wait(POLL_SECONDS):
                threading.Event().wait(POLL_SECONDS)  # once stopping, the wait above returns at once
            self._stop.propagate()
            self._pass_signals_on()
            for child in [child for child in self._children if child.process.poll() is not None]:
                self._children.remove(child)
                self._gone(child)
            rounds += 1
            if rounds % round(PROGRESS_SECONDS / POLL_SECONDS) == 0 and (found := progress()) is not None:
                self._events.progress(found, combined([child.flow for child in self._children]))
        return Ending(self._ended, self._refused, self._broken)

    def _start(self) -> Child:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C on the terminal reaches the parent, which passes it on once
        )
        return self._read(process)

    def _read(self, process: Process) -> Child:
        """Begin to read what *process* says."""
        child = Child(process)
        for target in (self._read_lines, self._read_stderr):
            thread = threading.Thread(target=target, args=(child,), daemon=True)
            thread.start()
            child.readers.append(thread)
        return child

    def _pass_signals_on(self) -> None:
        wanted = 2 if self._stop.abandoning else 1 if self._stop.draining else 0
        while self._signals_sent < wanted:
            self._signals_sent += 1
            if self._signals_sent == 1:
                self._events.draining(False)
            self._signal_all()

    def _signal_all(self) -> None:
        for child in self._children:
            child.process.send_signal(signal.SIGTERM)

    def _gone(self, child: Child) -> None:
        """Judge a process that has ended; replace it when it died."""
        for reader in child.readers:
            reader.join(5.0)
        code = child.process.poll() or 0
        with self._lock:
            for members in self._waiting.values():
                members.discard(child.process.pid)
        if code in _ENDED:
            self._ended = True
        elif code == Stopped.exit_code or self._stop.draining or self._refused or self._broken:
            return  # it left, or was asked to
        elif code < 0 or code in _DIED:
            self._died(child, code)
        else:
            self._refused = child.diagnostic or {"exit": code, "summary": "\n".join(child.stderr), "code": "Refused"}
            self._signal_all()

    def _died(self, child: Child, code: int) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "crashed"
        if self._replacements <= 0:
            self._broken = [f"process {child.process.pid} {how}; too many have died to replace it", *child.stderr]
            self._signal_all()
            return
        self._replacements -= 1
        self._children.append(self._start())
        self._note(f"process {child.process.pid} {how}; process {self._children[-1].process.pid} takes its place")

    def _read_stderr(self, child: Child) -> None:
        with child.process.stderr or io.StringIO() as lines:
            child.stderr.extend(line.rstrip("\n") for line in lines)

    def _read_lines(self, child: Child) -> None:
        with child.process.stdout or io.StringIO() as lines:
            for line in lines:
                try:
                    said = json.loads(line)
                except ValueError:
                    continue  # the last line of a process killed in the middle of it
                if isinstance(said, dict):
                    self._heard(child, said)

    def _heard(self, child: Child, said: Mapping[str, Any]) -> None:
        match said.get("type"):
            case "progress":
                child.flow = ProcessView.from_json(said)
            case "chunk_complete":
                self._events.batch_finished(said["batch"])
            case "object_error":
                self._events.object_trouble(trouble_of(said))
            case "waiting":
                self._heard_waiting(child.process.pid, said)
            case "diagnostic":
                child.diagnostic = said

    def _heard_waiting(self, pid: int, said: Mapping[str, Any]) -> None:
        """Report once when the first process starts to wait, and once when the last one stops waiting."""
        what, back = said["for"], said["back"]
        with self._lock:
            members = self._waiting.setdefault(what, set())
            was = bool(members)
            members.discard(pid) if back else members.add(pid)
            now = bool(members)
        if was and not now and "moved_to" in said:
            self._events.moved(what, said["moved_to"])
        elif was != now:
            self._events.waiting(what, ConnectionFailed(said["message"]) if now else None)


def trouble_of(said: Mapping[str, Any]) -> ObjectTrouble:
    """An object_error line as the event it was."""
    return ObjectTrouble(
        section=said["section"],
        batch=said["batch"],
        ord=said["ord"],
        key=said["key"],
        reason=said["class"],
        message=said["message"],
        status=said["http"],
        attempt=said["attempt"],
        final=said["final"],
    )


def combined(flows: Sequence[ProcessView | None]) -> ProcessView:
    """The views of several processes added up; None is a process that has not reported yet."""
    heard = [flow for flow in flows if flow is not None]
    reasons = sorted({f", {flow.why}" for flow in heard if flow.why})
    why = counted_text(len(flows), "process") + "".join(reasons)
    return ProcessView(sum(flow.workers for flow in heard), why, endpoints_of(heard))


def patient_progress(ledger: Ledger, run_id: int) -> Progress | None:
    """The run's progress; None while the ledger is unavailable."""
    try:
        return ledger.reports.progress(run_id)
    except LedgerUnavailable:
        return None
