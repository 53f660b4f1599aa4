"""Words on their way to a reader who is slow, absent or gone: nobody waits, the newest are kept, losses are counted."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO, cast

import pytest

from s3migrate.console import output
from s3migrate.console.output import Detached, Unbroken

F_SETPIPE_SZ = 1031
PIPE = 4096


def left_out(count: int) -> str:
    return f"({count} left out)"


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """The reading and the writing end of a pipe of one page."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], F_SETPIPE_SZ, PIPE)
    reader, writer = os.fdopen(ends[0]), os.fdopen(ends[1], "w")
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):
            end.close()


def all_of(stream: Detached, reader: TextIO, writer: TextIO) -> list[str]:
    """End *stream* and read what it wrote."""
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.extend(reader))
    thread.start()
    stream.end()
    assert stream.wait_written()
    writer.close()
    thread.join()
    return [line.rstrip("\n") for line in read]


def test_everything_arrives_in_order(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    stream = Detached(writer, left_out)
    lines = [f"{n} é" for n in range(3000)]
    stream.write("\n".join(lines) + "\nno end of line")
    assert all_of(stream, reader, writer) == [*lines, "no end of line"]


def test_without_a_reader_the_newest_are_kept_and_the_others_counted(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    stream = Detached(writer, left_out, room=1000)
    for n in range(1000):
        if n == 1:
            select.select([reader], [], [])  # the first is on its way
        stream.write(f"{n:099d}\n")
    seen = all_of(stream, reader, writer)
    # A thread that comes late to its turn may tell of a few before the pipe is full, and of the others afterwards.
    notices = [n for n, line in enumerate(seen) if "left out" in line]
    expected = 0
    for place, line in enumerate(seen):
        if place in notices:
            expected += int(line.split()[0].removeprefix("("))
        else:
            assert int(line) == expected
            expected += 1
    assert expected == 1000, "each is seen or counted where it is missing"
    assert notices[0] >= 1
    assert notices[-1] <= PIPE // 100 + len(notices)
    # What came after the last notice waits in the stream, or already in the pipe where the thread was late.
    assert 1 <= len(seen) - notices[-1] - 1 <= 10 + PIPE // 100, "the newest, and no more than there is room for"


def test_only_the_newest_progress_waits(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    stream = Detached(writer, left_out)
    stream.write("x" * 3 * PIPE + "\n")  # from here on the pipe is full
    for n in range(100):
        stream.replace(f"progress {n}")
        if n == 50:
            stream.write("in between\n")
    stream.write("last\n")
    assert all_of(stream, reader, writer)[-3:] == ["in between", "progress 99", "last"]


def test_an_absent_reader_is_waited_for_and_then_no_longer(pipe: tuple[TextIO, TextIO]) -> None:
    _, writer = pipe
    stream = Detached(writer, left_out, patience=0.05)
    stream.write("x" * 3 * PIPE + "\n")
    stream.end()
    assert not stream.wait_written()


def test_a_reader_that_left_is_not_an_error(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    reader.close()
    stream = Detached(writer, left_out)
    for _ in range(100):
        stream.write("x" * PIPE + "\n")
    stream.end()
    assert stream.wait_written()


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    os.set_blocking(writer.fileno(), False)
    stream = Detached(writer, left_out)
    stream.write("x" * 3 * PIPE + "\n")
    assert all_of(stream, reader, writer) == ["x" * 3 * PIPE]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_below_the_output_is_not_an_error() -> None:
    full = Path("/dev/full")
    with suppress(OSError), full.open("w") as file:
        stream = Detached(file, left_out)
        stream.write("words\n")
        stream.end()
        assert stream.wait_written()
    with suppress(OSError), full.open("w") as file:
        through = Unbroken(file)
        for _ in range(2):
            through.write("words\n")
            through.flush()


def test_on_a_terminal_progress_stays_on_its_row_and_is_cleared_for_words() -> None:
    clear = output.CLEAR_LINE
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 20))
    with os.fdopen(slave, "w") as terminal:
        stream = Detached(terminal, left_out)
        assert stream.isatty()
        seen = ""
        for said, shown in (
            (lambda: stream.replace("50 % of a line that is too long"), f"{clear}50 % of a line that"),
            (lambda: stream.replace("60 %"), f"{clear}60 %"),
            (lambda: stream.write("words\n"), f"{clear}words\r\n"),
            (lambda: stream.replace("70 %"), f"{clear}70 %"),
        ):
            said()
            wanted = seen + shown
            while len(seen) < len(wanted):
                seen += os.read(master, 1000).decode()
            assert seen == wanted
        stream.end()
        assert stream.wait_written()
        assert os.read(master, 1000).decode() == clear
    os.close(master)


def test_streams_are_given_back_with_everything_written() -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        with output.released():
            output.detach(left_out)
            print("é")
            output.progress("how far", err=True)
            print("a traceback", file=sys.stderr)
            assert sys.stdout is not out
        assert (cast("object", sys.stdout), cast("object", sys.stderr)) == (out, err)
    assert (out.getvalue(), err.getvalue()) == ("é\n", "how far\na traceback\n")


def test_some_rows_are_replaced_together_on_a_terminal() -> None:
    main, other = pty.openpty()
    with os.fdopen(other, "w") as terminal:
        stream = Detached(terminal, left_out)
        for n in range(2):
            stream.replace(f"\x1b[1mbar {n}\x1b[0m\nrow {n}\nlast {n}")
            assert until_read(main, f"last {n}".encode())
        stream.write("a word between\n")
        stream.end()
        assert stream.wait_written()
    rest = until_read(main, b"between")
    assert rest.startswith(b"\r\x1b[2A\x1b[J"), "the rows are gone before the word comes"
    os.close(main)


def until_read(terminal: int, wanted: bytes) -> bytes:
    """What the terminal showed, until *wanted* is in it."""
    seen = b""
    while wanted not in seen:
        seen += os.read(terminal, 4096)
    return seen
