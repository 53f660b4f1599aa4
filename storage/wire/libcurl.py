"""The libcurl that pycurl ships, called without pycurl: no Python code handles the data.

Through pycurl each 16 KiB of body and each line of a head is a call into Python, which takes the interpreter from the
other threads. Here libcurl writes by its own `fwrite` into memory that `fmemopen` makes a FILE of, and sends from
memory by address. `perform` releases the interpreter lock once per request; the setters, a microsecond's work each,
keep it (PyDLL).

This is the only file that knows ctypes. Numbers of options are libcurl's ABI: curl.h promises never to change them.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from collections.abc import Callable, Sequence
from ctypes import c_char_p, c_double, c_int, c_int64, c_long, c_size_t, c_void_p
from typing import Any, Final

import pycurl

# CURLOPT_*: 0 + n takes a long, 10000 + n a pointer or text, 20000 + n a function, 30000 + n 64 bits.
URL: Final = 10002
WRITEDATA: Final = 10001
READDATA: Final = 10009
ERRORBUFFER: Final = 10010
POSTFIELDS: Final = 10015
USERAGENT: Final = 10018
HTTPHEADER: Final = 10023
HEADERDATA: Final = 10029
CUSTOMREQUEST: Final = 10036
CAINFO: Final = 10065
READFUNCTION: Final = 20012
SEEKFUNCTION: Final = 20167
INFILESIZE_LARGE: Final = 30115
MAXFILESIZE_LARGE: Final = 30117
POSTFIELDSIZE_LARGE: Final = 30120
TIMEOUT: Final = 13
LOW_SPEED_LIMIT: Final = 19
LOW_SPEED_TIME: Final = 20
NOPROGRESS: Final = 43
NOBODY: Final = 44
UPLOAD: Final = 46
POST: Final = 47
FOLLOWLOCATION: Final = 52
SSL_VERIFYPEER: Final = 64
MAXCONNECTS: Final = 71
FRESH_CONNECT: Final = 74
HTTPGET: Final = 80
SSL_VERIFYHOST: Final = 81
HTTP_VERSION: Final = 84
BUFFERSIZE: Final = 98
NOSIGNAL: Final = 99
TCP_NODELAY: Final = 121
CONNECTTIMEOUT_MS: Final = 156
TCP_KEEPALIVE: Final = 213
PROTOCOLS: Final = 181
PATH_AS_IS: Final = 234
SUPPRESS_CONNECT_HEADERS: Final = 265
UPLOAD_BUFFERSIZE: Final = 280
HTTP_1_1: Final = 2
HTTP_AND_HTTPS: Final = 3

# CURLINFO_*
OS_ERRNO: Final = 0x200000 + 25
TOTAL_TIME: Final = 0x300000 + 3
STARTTRANSFER_TIME: Final = 0x300000 + 17

# CURLE_*
OK: Final = 0
WRITE_ERROR: Final = 23
FILE_TOO_LARGE: Final = 63

READ_ABORT: Final = 0x10000000
SEEK_OK, SEEK_FAIL = 0, 1
_UNBUFFERED: Final = 2
"""_IONBF of glibc and musl."""
_ERROR_TEXT: Final = 256
_NODE: Final = struct.calcsize("PP")

_READ = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_size_t, c_size_t, c_void_p)
_SEEK = ctypes.CFUNCTYPE(c_int, c_void_p, c_int64, c_int)


class Unusable(Exception):
    """Why libcurl cannot be called this way here; the text says what is missing."""


class Library:
    """libcurl's functions, and those of libc needed with it, typed. `load` makes the process's only instance."""

    def __init__(self, path: str) -> None:
        """*path*: of pycurl's extension module; its dependencies are found through it. Raises Unusable."""
        try:
            slow, quick = ctypes.CDLL(path), ctypes.PyDLL(path)
            self.version = _function(slow, "curl_version", c_char_p)
            self.init = _function(slow, "curl_easy_init", c_void_p)
            self.cleanup = _function(slow, "curl_easy_cleanup", None, c_void_p)
            self.perform = _function(slow, "curl_easy_perform", c_int, c_void_p)
            # curl_easy_setopt is variadic. On Linux's ABIs for x86-64 and aarch64 that makes no difference for
            # integers and pointers; each type has a signature of its own.
            self.set_long = _function(quick, "curl_easy_setopt", c_int, c_void_p, c_int, c_long)
            self.set_large = _function(quick, "curl_easy_setopt", c_int, c_void_p, c_int, c_int64)
            self.set_pointer = _function(quick, "curl_easy_setopt", c_int, c_void_p, c_int, c_void_p)
            self.set_text = _function(quick, "curl_easy_setopt", c_int, c_void_p, c_int, c_char_p)
            self.get_double = _function(quick, "curl_easy_getinfo", c_int, c_void_p, c_int, ctypes.POINTER(c_double))
            self.get_long = _function(quick, "curl_easy_getinfo", c_int, c_void_p, c_int, ctypes.POINTER(c_long))
            self.strerror = _function(quick, "curl_easy_strerror", c_char_p, c_int)
            self.fmemopen = _function(quick, "fmemopen", c_void_p, c_void_p, c_size_t, c_char_p)
            self.open_memstream = _function(quick, "open_memstream", c_void_p, c_void_p, c_void_p)
            self.setvbuf = _function(quick, "setvbuf", c_int, c_void_p, c_void_p, c_int, c_size_t)
            self.fwrite = _function(quick, "fwrite", c_size_t, c_char_p, c_size_t, c_size_t, c_void_p)
            self.rewind = _function(quick, "rewind", None, c_void_p)
            self.ftello = _function(quick, "ftello", c_int64, c_void_p)
            self.fclose = _function(quick, "fclose", c_int, c_void_p)
            self.free = _function(quick, "free", None, c_void_p)
        except (OSError, AttributeError) as error:
            raise Unusable(str(error)) from None


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """*name* with these types, as an object of its own. Raises AttributeError where it is not to be found."""
    function: Any = library[name]
    function.restype = result
    function.argtypes = arguments
    return function  # type: ignore[no-any-return]


def load() -> Library:
    """The library that pycurl itself calls, after a trial. Raises Unusable, saying why."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64") or struct.calcsize("P") != 8:
        raise Unusable(f"not tried on {sys.platform} on {platform.machine()}")
    extension = sys.modules.get("pycurl._pycurl", pycurl)
    library = Library(str(extension.__file__))
    version = library.version().decode("ascii", "replace").split()[0]
    if version not in pycurl.version.split():
        raise Unusable(f"{version} was found where pycurl uses {pycurl.version}")
    _try_out(library)
    return library


def _try_out(library: Library) -> None:
    """A FILE over memory must take what fits, unharmed, and refuse what does not, at once. Raises Unusable."""
    memory = Memory(16)
    exact = MemoryFile(library, memory.view[:8])
    took = [library.fwrite(b"12345678", 1, size, exact.file) for size in (3, 5, 1)]
    whole = exact.written() == 8 and bytes(memory.view[:9]) == b"12312345\0"
    exact.close()
    again = ReusedFile(library, memory)
    for text in (b"abcdefgh", b"xy"):
        again.rewind()
        took.append(library.fwrite(text, 1, len(text), again.file))
    whole = whole and again.written() == 2 and bytes(memory.view[:3]) == b"xyc"
    again.close()
    if took != [3, 5, 0, 8, 2] or not whole:
        raise Unusable("this libc's fmemopen does not write as POSIX says")


class Memory:
    """Writable memory at a fixed address, taken from the machine where it is touched."""

    def __init__(self, size: int) -> None:
        self.view = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self.address = address_of(self.view)[0]


def address_of(buffer: bytes | bytearray | memoryview) -> tuple[int, object]:
    """Where *buffer*'s bytes lie, and what must be held for as long as the address is used."""
    if len(buffer) == 0:
        return 0, None
    if isinstance(buffer, bytes):
        return ctypes.cast(c_char_p(buffer), c_void_p).value or 0, buffer
    try:
        held: object = ctypes.c_char.from_buffer(buffer)
    except TypeError:  # not writable
        return address_of(bytes(buffer))
    return ctypes.addressof(held), held  # type: ignore[arg-type]


class MemoryFile:
    """A FILE that fills *view*, once and unbuffered: one byte too many is a short write.

    It appends, because only then does glibc leave the last byte alone where the memory is filled to the brim; in
    every other mode it is made NUL.
    """

    def __init__(self, library: Library, view: memoryview) -> None:
        self._library = library
        self._held: object = (held := ctypes.c_char.from_buffer(view))
        held.value = b"\0"  # where it looks for the end to append to
        self.file = _unbuffered(library, ctypes.addressof(held), len(view), mode=b"a+")

    def written(self) -> int:
        """Bytes written so far."""
        return int(self._library.ftello(self.file))

    def close(self) -> None:
        """Release the FILE, not the memory."""
        self._library.fclose(self.file)
        self._held = None


class ReusedFile:
    """A FILE over memory of ours, rewound for each request. What fills it to the brim loses its last byte."""

    def __init__(self, library: Library, memory: Memory) -> None:
        self._library = library
        self._memory = memory
        self.file = _unbuffered(library, memory.address, len(memory.view), mode=b"w")

    def rewind(self) -> None:
        """Write from the beginning again."""
        self._library.rewind(self.file)

    def written(self) -> int:
        """Bytes written since the beginning."""
        return int(self._library.ftello(self.file))

    def close(self) -> None:
        """Release the FILE, not the memory."""
        held, self.file = self.file, 0
        if held:
            self._library.fclose(held)


def _unbuffered(library: Library, address: int, size: int, *, mode: bytes) -> int:
    file: int | None = library.fmemopen(address, size, mode)
    if not file:
        raise MemoryError("fmemopen")
    library.setvbuf(file, None, _UNBUFFERED, 0)
    return file


class GrowingFile:
    """A FILE that writes into memory that grows in C."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._place = (c_void_p * 2)()
        where = ctypes.addressof(self._place)
        self.file: int = library.open_memstream(where, where + 8)
        if not self.file:
            raise MemoryError("open_memstream")

    def take(self, most: int) -> bytes:
        """Close it: what was written, up to *most* bytes."""
        held, self.file = self.file, 0
        self._library.fclose(held)
        address, size = self._place[0], self._place[1] or 0
        text = ctypes.string_at(address, min(size, most)) if address and size else b""
        self._library.free(address)
        return text


class HeaderBlock:
    """A request's own header lines as libcurl's linked list, laid out in memory that is used again.

    The requests of a connection resemble each other: where every line is as long as the one before it in its place, the
    list stays as it lies and only the text is new.
    """

    def __init__(self, suppressed: Sequence[bytes]) -> None:
        """*suppressed*: lines at the head of each list (`Name:`), which keep libcurl from adding such a header."""
        self._suppressed = suppressed
        self._make_room(4096, 32)

    def _make_room(self, text: int, nodes: int) -> None:
        first = b"".join([line + b"\0" for line in self._suppressed])
        self._text, self._nodes = Memory(len(first) + text), Memory((len(self._suppressed) + nodes) * _NODE)
        self._text.view[: len(first)] = first
        self._start, self._room = len(first), text
        self._most = nodes
        self._lengths: list[int] | None = None

    def lay(self, lines: list[str]) -> int:
        """The list's address, good until the next call. *lines* are `name: value` or `name;`, latin-1."""
        lengths = list(map(len, lines))
        text = "\0".join([*lines, ""]).encode("latin-1")
        if len(text) > self._room or len(lengths) > self._most:
            self._make_room(2 * len(text), 2 * len(lengths))
        self._text.view[self._start : self._start + len(text)] = text
        if lengths != self._lengths:
            self._chain(lengths)
            self._lengths = lengths
        return self._nodes.address

    def _chain(self, lengths: list[int]) -> None:
        """Nodes for lines of these *lengths*."""
        place, following = self._text.address, self._nodes.address
        chain: list[int] = []
        for length in [*map(len, self._suppressed), *lengths]:
            following += _NODE
            chain += (place, following)
            place += length + 1
        chain[-1] = 0
        struct.pack_into(f"{len(chain)}P", self._nodes.view, 0, *chain)


class Easy:
    """One easy handle. Not safe to use from two threads at once."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._handle: int = library.init()
        if not self._handle:
            raise MemoryError("curl_easy_init")
        self._set_pointer, self._set_text, self._get_double = library.set_pointer, library.set_text, library.get_double
        self._whole, self._begun, self._long = c_double(), c_double(), c_long()
        self._error = Memory(_ERROR_TEXT)
        self._functions: list[object] = []
        self.point(ERRORBUFFER, self._error.address)

    def number(self, option: int, value: int) -> None:
        """Set an option that takes a long. Raises Unusable where libcurl does not know it."""
        if code := self._library.set_long(self._handle, option, value):
            raise self._refused(option, code)

    def large(self, option: int, value: int) -> None:
        """Set an option that takes 64 bits."""
        if code := self._library.set_large(self._handle, option, value):
            raise self._refused(option, code)

    def point(self, option: int, address: int | None) -> None:
        """Set an option that takes a pointer: what lies there is not copied."""
        if code := self._set_pointer(self._handle, option, address):
            raise self._refused(option, code)

    def text(self, option: int, value: bytes | None) -> None:
        """Set an option that takes a text, which libcurl copies; None: its default."""
        if code := self._set_text(self._handle, option, value):
            raise self._refused(option, code)

    def aim(self, url: bytes, lines: int) -> None:
        """Where the next request goes, and the list of its header lines: set for each, so in one call."""
        handle = self._handle
        if code := self._set_text(handle, URL, url) or self._set_pointer(handle, HTTPHEADER, lines):
            raise self._refused(URL, code)

    def lend(self, read: Callable[[int], bytes | None], seek: Callable[[int, int], bool]) -> None:
        """Bodies in UPLOAD mode come from *read(most)*; None aborts. *seek(offset, origin)*: True: it is there.

        Neither may raise.
        """

        def lent(place: int, size: int, count: int, _user: int) -> int:
            piece = read(size * count)
            if piece is None:
                return READ_ABORT
            ctypes.memmove(place, piece, len(piece))
            return len(piece)

        def sought(_user: int, offset: int, origin: int) -> int:
            return SEEK_OK if seek(offset, origin) else SEEK_FAIL

        functions = [_READ(lent), _SEEK(sought)]
        self._functions += functions  # libcurl keeps their addresses
        for option, function in zip((READFUNCTION, SEEKFUNCTION), functions, strict=True):
            self.point(option, ctypes.cast(function, c_void_p).value)

    def perform(self) -> int:
        """Perform the request with the interpreter lock released. Returns libcurl's result code."""
        return int(self._library.perform(self._handle))

    def seconds(self) -> tuple[float, float]:
        """From sending to the last byte, and to the first one."""
        self._get_double(self._handle, TOTAL_TIME, self._whole)
        self._get_double(self._handle, STARTTRANSFER_TIME, self._begun)
        return self._whole.value, self._begun.value

    def os_error(self) -> int:
        """The errno of the last connect that failed; 0: none."""
        self._library.get_long(self._handle, OS_ERRNO, self._long)
        return self._long.value

    def why(self, code: int) -> str:
        """libcurl's message for *code*, with details where it has any."""
        detail = bytes(self._error.view).split(b"\0", 1)[0]
        return (detail or self._library.strerror(code)).decode("utf-8", "replace")

    def close(self) -> None:
        """Close its connection and free it."""
        held, self._handle = self._handle, 0
        if held:
            self._library.cleanup(held)
        self._functions = []

    def _refused(self, option: int, code: int) -> Unusable:
        return Unusable(f"option {option} is refused: {self._library.strerror(code).decode('ascii', 'replace')}")
