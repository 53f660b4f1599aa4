"""stdout and stderr of a command: a reader that is slow or goes away affects nothing but what is shown. A pipe that
nobody reads blocks its writer, and a blocked run loses its leases. So a run's output is `Detached`: one thread per
stream writes it, and printing neither waits nor fails. Commands that must show all they find wait for their reader
(`Unbroken`), and continue without one that has left.

These streams replace sys.stdout and sys.stderr while a command runs, rather than being handed to the views: click,
warnings and tracebacks write there too, and a single write past the streams could block the run.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO, cast

import click

from schema.formats.quantities import counted_text

ROOM = 1 << 20
"""Most characters kept for a slow reader."""
PATIENCE = 5.0
"""Seconds that the end of a command waits for a reader that takes nothing."""
SLICE = 4096
"""Bytes per write: what a pipe takes completely or not at all."""
CLEAR_LINE = "\r\x1b[K"
USUAL_SIZE = 80, 24
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
"""Colour sequences, which occupy no columns."""


def size_of(terminal: int) -> tuple[int, int]:
    """Columns and rows of the terminal with this file descriptor."""
    try:
        found = os.get_terminal_size(terminal)
    except OSError:
        return USUAL_SIZE
    return found.columns or USUAL_SIZE[0], found.lines or USUAL_SIZE[1]


class Detached(io.TextIOBase):
    """A text stream whose lines a thread writes to *target*; `write` and `replace` never wait and never fail.

    When more than *room* characters wait, the oldest lines are dropped and *left_out(count)* is written in their place:
    a reader that comes back sees the newest lines, above all the last ones.
    """

    encoding = "utf-8"

    def __init__(
        self, target: TextIO, left_out: Callable[[int], str], *, room: int = ROOM, patience: float = PATIENCE
    ) -> None:
        self.target = target
        target.flush()
        self._sink = _Sink(target)
        self._left_out = left_out
        self._room = room
        self._patience = patience
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, bool]] = deque()
        """Lines, and whether a newer line may replace each."""
        self._characters = 0
        self._lost = 0
        self._begun = ""
        """Text without an end of line yet."""
        self._closing = False
        self._ended = False
        self._taken_at = 0.0
        self._writer: threading.Thread | None = None
        """Started by the first line: a process without threads can be forked."""

    def write(self, text: str) -> int:
        """Take *text* and queue its complete lines."""
        with self._changed:
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                self._add(line, False)
        return len(text)

    def replace(self, line: str) -> None:
        """Queue a line in place of the last one given to `replace`, unless that is already written."""
        with self._changed:
            old = next((entry for entry in self._waiting if entry[1]), None)
            if old is not None:
                self._waiting.remove(old)
                self._characters -= len(old[0])
            self._add(line, True)

    def flush(self) -> None:
        """Does nothing: the thread writes as soon as the reader reads."""

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """As the target is."""
        return self._sink.terminal

    def end(self) -> None:
        """Accept nothing more."""
        with self._changed:
            if self._begun:
                self._add(self._begun, False)
                self._begun = ""
            self._closing = True
            self._ended = self._writer is None
            self._taken_at = time.monotonic()
            self._changed.notify_all()

    def wait_written(self) -> bool:
        """After `end`: wait until everything is written (True), or the reader takes nothing for *patience* (False)."""
        with self._changed:
            while not self._ended:
                left = self._taken_at + self._patience - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _add(self, line: str, replaceable: bool) -> None:
        self._waiting.append((line, replaceable))
        self._characters += len(line)
        while self._characters > self._room and len(self._waiting) > 1:
            oldest, was_replaceable = self._waiting.popleft()
            self._characters -= len(oldest)
            self._lost += not was_replaceable
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="output", daemon=True)
            self._writer.start()
        self._changed.notify_all()

    def _write_all(self) -> None:
        while (entry := self._next()) is not None:
            for piece in self._sink.pieces(*entry):
                self._sink.put(piece)
                with self._changed:
                    self._taken_at = time.monotonic()
                    self._changed.notify_all()
        self._sink.put(self._sink.cleared())
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _next(self) -> tuple[str, bool] | None:
        with self._changed:
            while not (self._waiting or self._lost or self._closing):
                self._changed.wait()
            if self._lost:
                lost, self._lost = self._lost, 0
                return self._left_out(lost), False
            if not self._waiting:
                return None
            entry = self._waiting.popleft()
            self._characters -= len(entry[0])
            return entry


class _Sink:
    """Where a detached stream's thread writes: past Python's buffers, so that a blocked write holds no lock of them.

    (A thread blocked in `sys.stdout.write` owns its buffer's lock; the interpreter needs that lock to exit, and aborts
    without it.) A stream that has failed once is not written to again.
    """

    def __init__(self, target: TextIO) -> None:
        self._target = target
        self._live: list[int] = []
        """The width of each row of the replaceable text that now ends the terminal's content."""
        self._deaf = False
        try:
            self._number = target.fileno()
        except (OSError, AttributeError):
            self._number = -1  # in memory
        self.terminal = self._number >= 0 and os.isatty(self._number)

    def pieces(self, line: str, replaceable: bool) -> Iterator[bytes]:
        """The bytes of *line* in slices. On a terminal the next line overwrites a replaceable one, all rows of it."""
        if self.terminal and replaceable:
            columns, lines = self._size()
            # Rows with colours were made to fit; one without may be a sentence of any length.
            rows = [row if "\x1b" in row else row[: columns - 1] for row in line.split("\n")[: max(1, lines - 1)]]
            text = (self.cleared() or CLEAR_LINE.encode()) + "\r\n".join(rows).encode("utf-8", "backslashreplace")
            self._live = [len(_ESCAPES.sub("", row)) for row in rows]
        else:
            text = self.cleared() + line.encode("utf-8", "backslashreplace") + b"\n"
        size = SLICE if self._number >= 0 else len(text)
        yield from (text[start : start + size] for start in range(0, len(text), size))

    def cleared(self) -> bytes:
        """The escape sequence that removes the replaceable text from the terminal, if there is any."""
        live, self._live = self._live, []
        if len(live) < 2:
            return CLEAR_LINE.encode() if live else b""
        columns = self._size()[0]  # a terminal that was made narrower has wrapped the rows
        above = sum(max(1, -(-width // columns)) for width in live) - 1
        return f"\r\x1b[{above}A\x1b[J".encode()

    def put(self, piece: bytes) -> None:
        """Write, however long that takes; after a failure do nothing."""
        while piece and not self._deaf:
            try:
                piece = piece[self._written(piece) :]
            except BlockingIOError:  # set by another process that shares the pipe
                select.select([], [self._number], [], 1.0)
            except (OSError, ValueError):
                self._deaf = True

    def _written(self, piece: bytes) -> int:
        if self._number >= 0:
            return os.write(self._number, piece)
        self._target.write(piece.decode("utf-8", "replace"))
        return len(piece)

    def _size(self) -> tuple[int, int]:
        return size_of(self._number)


class ReaderGone(OSError):
    """The reader of stdout or stderr is gone. (Has no errno: click would handle a broken pipe itself.)"""


class Shown(io.TextIOBase):
    """A text stream that writes through to *target*; ReaderGone ends a command that only shows something."""

    encoding = "utf-8"

    def __init__(self, target: TextIO) -> None:
        self.target = target

    def write(self, text: str) -> int:
        """Write through, and wait for the reader."""
        self._try(lambda: self.target.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush through."""
        self._try(self.target.flush)

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """As the target is."""
        return self.target.isatty()

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BrokenPipeError:
            raise ReaderGone from None


class Unbroken(Shown):
    """The same, but after a failure output is discarded: the command goes on."""

    def __init__(self, target: TextIO) -> None:
        super().__init__(target)
        self._deaf = False

    def _try(self, act: Callable[[], object]) -> None:
        if not self._deaf:
            try:
                act()
            except OSError:
                self._deaf = True


def _targets() -> tuple[TextIO, TextIO]:
    """stdout and stderr without the wrappers of `released`."""
    out, err = ((over.target if isinstance(over, Shown) else over) for over in (sys.stdout, sys.stderr))
    return out, err


def _install(out: io.TextIOBase, err: io.TextIOBase) -> None:
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)


def detach(left_out_on_stdout: Callable[[int], str]) -> None:
    """Until `released` ends, this command's output neither waits nor fails."""
    out, err = _targets()
    _install(
        Detached(out, left_out_on_stdout),
        Detached(err, lambda count: f"s3migrate: {counted_text(count, 'line')} not written: nobody read them"),
    )


def outlive_readers() -> None:
    """Until `released` ends, a reader that goes away does not end this command."""
    out, err = _targets()
    _install(Unbroken(out), Unbroken(err))


def progress(line: str, err: bool) -> None:
    """Show progress: on a terminal in place of the previous line, elsewhere as a line that may be skipped."""
    stream: object = sys.stderr if err else sys.stdout
    if isinstance(stream, Detached):
        stream.replace(line)
    else:
        click.echo(line, err=err)


def columns_of_stderr() -> int:
    """The width of the terminal at stderr."""
    stream: object = sys.stderr
    while isinstance(stream, Detached | Shown):
        stream = stream.target
    try:
        return size_of(stream.fileno())[0] if isinstance(stream, io.IOBase) else USUAL_SIZE[0]
    except (OSError, ValueError):
        return USUAL_SIZE[0]


def deliver() -> None:
    """Write out what is queued, in bounded time. Nothing may be printed afterwards."""
    said: tuple[object, ...] = (sys.stdout, sys.stderr)
    streams = [stream for stream in said if isinstance(stream, Detached)]
    for stream in streams:
        stream.end()
    for stream in streams:
        stream.wait_written()


@contextlib.contextmanager
def released() -> Iterator[None]:
    """Around a command: at its end the queued output is written, and stdout and stderr are restored.

    Inside, a closed stdout or stderr raises ReaderGone, which no other broken pipe can be mistaken for.
    """
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:
        _install(Shown(sys.stdout or nowhere), Shown(sys.stderr or nowhere))  # None: closed before we started
        try:
            yield
        finally:
            deliver()
            sys.stdout, sys.stderr = before
            for stream in before:
                if stream is not None:
                    _settle(stream)


def _settle(stream: TextIO) -> None:
    """Flush; if nobody reads any more, keep the interpreter's own flush at exit from failing."""
    try:
        stream.flush()
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ENOSPC):
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
