"""TLS by OpenSSL's own functions, called without Python's ssl: a whole body takes one call, not one for each record.

Python's ssl hands out a record (16 KiB at most) at a time and takes the interpreter from the other threads for each.
Here OpenSSL decrypts into the caller's memory and encrypts from it until the socket is empty or full, and the
interpreter's lock is free meanwhile. Certificates and host names are verified by OpenSSL, always; the authorities are
read once for all connections.

This is the only file that knows ctypes. The library is the one that pycurl or Python's ssl has loaded: OpenSSL 3, whose
ABI does not change within its major version.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_long, c_size_t, c_ubyte, c_uint, c_uint64, c_ulong, c_void_p
from importlib import import_module
from secrets import token_hex
from typing import Any, Final

from storage.wire.exchange import HANDSHAKE_REFUSED, LOW_SPEED_BYTES, ExchangeFailed, Fault, descriptors_spent

# ssl.h, x509_vfy.h, x509v3.h, bio.h
_VERIFY_PEER: Final = 1
_READ_AHEAD, _MIN_VERSION, _SERVER_NAME = 41, 123, 55
_TLS_1_2: Final = 0x0303
_WANT_READ, _WANT_WRITE, _SYSCALL, _ZERO_RETURN = 2, 3, 5, 6
_TRUSTED_FIRST, _PARTIAL_CHAIN = 0x8000, 0x80000
_NO_PARTIAL_WILDCARDS: Final = 0x4
_SET_SSL: Final = 109
_FLAG_WRITE, _FLAG_RETRY = 0x02, 0x08
_UNEXPECTED_EOF: Final = 294
_REASON: Final = 0x7FFFFF

_READ_BUFFER: Final = 64 * 1024
"""Ciphertext that one system call may bring: four records."""
_BUFFERED: Final = 4096
"""BIO_f_buffer reads less than this into memory of its own, more straight to where it belongs."""
_RECORD: Final = 16 * 1024
_LONGEST_RECORD: Final = _RECORD + 5 + 256
"""Encrypted, with its head (RFC 8446, 5.2)."""
_ENOUGH: Final = 256 * 1024
_NAP: Final = 1.0
_SHORT: Final = 128 * 1024
"""For so few bytes the interpreter's lock is kept: they take some 50 us, on a socket that never blocks, and while the
lock changes hands there and back, the other threads wake up, wait for one another, and fill the caches anew."""
_MOST: Final = 1 << 30
"""OpenSSL counts bytes in an int."""
_LONGEST_LABEL: Final = 63
_ONLY_HTTP_1: Final = b"\x08http/1.1"
_EXTENSIONS: Final = ("pycurl._pycurl", "pycurl", "_ssl")


class Unusable(Exception):
    """Why OpenSSL cannot be called here; the text says what is missing."""


class Library:
    """OpenSSL's functions, typed. Those that may take long release the interpreter's lock."""

    def __init__(self, path: str) -> None:
        """*path*: of an extension module; its dependencies are found through it. Raises Unusable."""
        try:
            slow, quick = ctypes.CDLL(path, use_errno=True), ctypes.PyDLL(path, use_errno=True)
            self.version = _function(quick, "OpenSSL_version", c_char_p, c_int)(0).decode("ascii", "replace")
            number = _function(quick, "OpenSSL_version_num", c_ulong)()
            if not self.version.startswith("OpenSSL 3.") or number >> 28 != 3:
                raise Unusable(f"{self.version} is not OpenSSL 3")
            self._bind_contexts(slow, quick)
            self._bind_sessions(slow, quick)
        except (OSError, AttributeError) as error:
            raise Unusable(str(error)) from None

    def _bind_contexts(self, slow: ctypes.CDLL, quick: ctypes.CDLL) -> None:
        self.method = _function(quick, "TLS_client_method", c_void_p)
        self.context = _function(quick, "SSL_CTX_new", c_void_p, c_void_p)
        self.free_context = _function(quick, "SSL_CTX_free", None, c_void_p)
        self.control_context = _function(quick, "SSL_CTX_ctrl", c_long, c_void_p, c_int, c_long, c_void_p)
        self.set_verify = _function(quick, "SSL_CTX_set_verify", None, c_void_p, c_int, c_void_p)
        self.load_authorities = _function(slow, "SSL_CTX_load_verify_file", c_int, c_void_p, c_char_p)
        self.usual_authorities = _function(slow, "SSL_CTX_set_default_verify_paths", c_int, c_void_p)
        self.authorities = _function(quick, "SSL_CTX_get_cert_store", c_void_p, c_void_p)
        self.set_flags = _function(quick, "X509_STORE_set_flags", c_int, c_void_p, c_ulong)
        self.set_read_buffer = _function(quick, "SSL_CTX_set_default_read_buffer_len", None, c_void_p, c_size_t)
        self.set_protocols = _function(quick, "SSL_CTX_set_alpn_protos", c_int, c_void_p, c_char_p, c_uint)

    def _bind_sessions(self, slow: ctypes.CDLL, quick: ctypes.CDLL) -> None:
        self.session = _function(quick, "SSL_new", c_void_p, c_void_p)
        self.free_session = _function(quick, "SSL_free", None, c_void_p)
        self.set_socket = _function(quick, "SSL_set_fd", c_int, c_void_p, c_int)
        self.control = _function(quick, "SSL_ctrl", c_long, c_void_p, c_int, c_long, c_char_p)
        self.parameters = _function(quick, "SSL_get0_param", c_void_p, c_void_p)
        self.expect_host = _function(quick, "X509_VERIFY_PARAM_set1_host", c_int, c_void_p, c_char_p, c_size_t)
        self.expect_host_too = _function(quick, "X509_VERIFY_PARAM_add1_host", c_int, c_void_p, c_char_p, c_size_t)
        self.expect_address = _function(quick, "X509_VERIFY_PARAM_set1_ip_asc", c_int, c_void_p, c_char_p)
        self.set_host_flags = _function(quick, "X509_VERIFY_PARAM_set_hostflags", None, c_void_p, c_uint)
        self.connect = _function(slow, "SSL_connect", c_int, c_void_p)
        self.verified = _function(quick, "SSL_get_verify_result", c_long, c_void_p)
        self.why_unverified = _function(quick, "X509_verify_cert_error_string", c_char_p, c_long)
        self.peek = _function(slow, "SSL_peek", c_int, c_void_p, c_void_p, c_int)
        self.write = _function(slow, "SSL_write", c_int, c_void_p, c_void_p, c_int)
        self.read_short = _function(quick, "SSL_read", c_int, c_void_p, c_void_p, c_int)
        self.write_short = _function(quick, "SSL_write", c_int, c_void_p, c_void_p, c_int)
        self.has_pending = _function(quick, "SSL_has_pending", c_int, c_void_p)
        self.writer = _function(quick, "SSL_get_wbio", c_void_p, c_void_p)
        self.written = _function(quick, "BIO_number_written", c_uint64, c_void_p)
        self.kind = _function(quick, "SSL_get_error", c_int, c_void_p, c_int)
        self.error = _function(quick, "ERR_get_error", c_ulong)
        self.clear_errors = _function(quick, "ERR_clear_error", None)
        self.reason = _function(quick, "ERR_reason_error_string", c_char_p, c_ulong)
        bio, over_tls = _function(quick, "BIO_f_buffer", c_void_p)(), _function(quick, "BIO_f_ssl", c_void_p)()
        new = _function(quick, "BIO_new", c_void_p, c_void_p)
        push = _function(quick, "BIO_push", c_void_p, c_void_p, c_void_p)
        control = _function(quick, "BIO_ctrl", c_long, c_void_p, c_int, c_long, c_void_p)
        self.read_through = _function(slow, "BIO_read", c_int, c_void_p, c_void_p, c_int)
        self.read_through_short = _function(quick, "BIO_read", c_int, c_void_p, c_void_p, c_int)
        self.reader_flags = _function(quick, "BIO_test_flags", c_int, c_void_p, c_int)
        self.free_reader = _function(quick, "BIO_free_all", None, c_void_p)

        def reader(session: int) -> int:
            tls = new(over_tls)
            control(tls, _SET_SSL, 0, session)
            return int(push(new(bio), tls))

        self.reader: Callable[[int], int] = reader
        """What BIO_read reads from until the memory is full or the socket empty. It does not own the session."""


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """*name* with these types, as an object of its own. Raises AttributeError where it is not to be found."""
    function: Any = library[name]
    function.restype = result
    function.argtypes = arguments
    return function  # type: ignore[no-any-return]


def load() -> Library:
    """The OpenSSL that is in this process already. Raises Unusable, saying why there is none."""
    if sys.platform != "linux":
        raise Unusable(f"not tried on {sys.platform}")
    reasons = []
    for name in _EXTENSIONS:
        try:
            path = import_module(name).__file__
            return Library(str(path))
        except (ImportError, Unusable) as error:
            reasons.append(f"{name}: {error}")
    raise Unusable("; ".join(reasons))


def address_of(buffer: bytearray | memoryview) -> tuple[int, object]:
    """Where *buffer* may be written to, and what must be held for as long as the address is used."""
    held = c_ubyte.from_buffer(buffer)
    return ctypes.addressof(held), held


def source_of(buffer: bytes | bytearray | memoryview) -> tuple[int, object]:
    """Where *buffer*, or a copy of it, may be read from, and what must be held meanwhile."""
    if not isinstance(buffer, bytes):
        try:
            return address_of(buffer)
        except TypeError:  # not writable, or not in one piece
            buffer = bytes(buffer)
    return ctypes.cast(c_char_p(buffer), c_void_p).value or 0, buffer


class Context:
    """What all connections that trust the same authorities have in common."""

    def __init__(self, library: Library, authorities: str | None) -> None:
        """*authorities*: path of a PEM file; None: OpenSSL's own. Raises ExchangeFailed where it cannot be read."""
        self.library = library
        self.handle: int = _made(library.context(library.method()))
        path = None if authorities is None else os.fsencode(authorities)
        read = library.usual_authorities(self.handle) if path is None else library.load_authorities(self.handle, path)
        if read != 1:
            library.clear_errors()
            text = f"no certificate authority can be read from {authorities or 'where OpenSSL keeps them'}"
            raise ExchangeFailed(Fault.NO_DESCRIPTORS if descriptors_spent() else Fault.TLS_REFUSED, text, 0.0)
        # An intermediate certificate among the authorities is trusted as they are.
        library.set_flags(library.authorities(self.handle), _TRUSTED_FIRST | _PARTIAL_CHAIN)
        library.set_verify(self.handle, _VERIFY_PEER, None)
        library.control_context(self.handle, _MIN_VERSION, _TLS_1_2, None)
        library.control_context(self.handle, _READ_AHEAD, 1, None)
        library.set_read_buffer(self.handle, _READ_BUFFER)
        library.set_protocols(self.handle, _ONLY_HTTP_1, len(_ONLY_HTTP_1))

    def __del__(self) -> None:
        """Sessions hold it themselves."""
        self.library.free_context(self.handle)


class Session:
    """A Channel over TLS. Owns its socket; one thread at a time."""

    def __init__(self, context: Context, connected: socket.socket, host: str, *, deadline: float) -> None:
        """Shake hands on a *connected* socket until *deadline* (monotonic) and verify that the server is *host*.

        Raises TimeoutError, ExchangeFailed. The socket is closed where there is no session.
        """
        self._library = library = context.library
        self._socket = connected
        self._seconds = 0.0
        self._ended = False
        self._low = 1
        self._session: int = _made(library.session(context.handle))
        self._reader: int = library.reader(self._session)
        connected.setblocking(False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(connected, select.POLLIN)
        self._writable.register(connected, select.POLLOUT)
        try:
            library.clear_errors()
            library.set_socket(self._session, connected.fileno())
            self._expect(host)
            self._shake_hands(deadline)
        except BaseException:
            self.close()
            raise

    def _expect(self, host: str) -> None:
        library, parameters = self._library, self._library.parameters(self._session)
        try:
            address = ipaddress.ip_address(host).compressed.encode("ascii")
            accepted = library.expect_address(parameters, address)
        except ValueError:
            name = ascii_name(host)
            library.set_host_flags(parameters, _NO_PARTIAL_WILDCARDS)
            accepted = name and library.expect_host(parameters, name, len(name))
            if accepted and b"_" in name.split(b".", 1)[0]:
                # To OpenSSL an underscore is no part of a label. What replaces the bucket here matches wildcards only.
                any_label = token_hex(16).encode() + b"." + name.split(b".", 1)[-1]
                accepted = library.expect_host_too(parameters, any_label, len(any_label))
            accepted = accepted and library.control(self._session, _SERVER_NAME, 0, name)
        if accepted != 1:
            raise ExchangeFailed(Fault.NO_HOST, f"{host} is not a host name that a certificate could bear", 0.0)

    def _shake_hands(self, deadline: float) -> None:
        library = self._library
        while (result := library.connect(self._session)) != 1:
            kind = library.kind(self._session, result)
            if kind in (_WANT_READ, _WANT_WRITE):
                self._wait(kind, deadline)
                continue
            raise self._refused(kind)
        if unverified := library.verified(self._session):
            raise self._distrusted(unverified)

    def _refused(self, kind: int) -> ExchangeFailed:
        """Why there is no session."""
        library = self._library
        number = library.error()
        library.clear_errors()
        if unverified := library.verified(self._session):
            return self._distrusted(unverified)
        if kind == _SYSCALL or number & _REASON == _UNEXPECTED_EOF:
            return ExchangeFailed(Fault.TLS_BROKEN, "the connection was closed within the TLS handshake", 0.0)
        words = self._words(number)
        fault = Fault.TLS_REFUSED if HANDSHAKE_REFUSED.search(words) else Fault.TLS_BROKEN
        return ExchangeFailed(fault, f"no TLS session: {words}", 0.0)

    def _distrusted(self, number: int) -> ExchangeFailed:
        text = self._library.why_unverified(number).decode("ascii", "replace")
        return ExchangeFailed(Fault.TLS_REFUSED, f"the server's certificate is not trusted: {text}", 0.0)

    def _words(self, number: int) -> str:
        return (self._library.reason(number) or b"no reason given").decode("ascii", "replace")

    def allow(self, seconds: float) -> None:
        """See Channel.allow."""
        self._seconds = seconds

    def send(self, *pieces: bytes | memoryview) -> None:
        """See Channel.send. What fits into one record is sent in one."""
        for data in _records(pieces):
            if isinstance(data, bytes) and len(data) <= _MOST:
                self._write(data, len(data))
                continue
            address, held = source_of(data)
            for start in range(0, len(data), _MOST):
                self._write(address + start, min(len(data) - start, _MOST))
            del held

    def _write(self, address: int | bytes, length: int) -> None:
        library, session = self._library, self._open()
        went, until = 0, None
        write = library.write_short if length <= _SHORT else library.write
        while (result := write(session, address, length)) <= 0:
            kind = self._sort_out(result)
            if kind == _ZERO_RETURN:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the other side has ended the connection")
            gone = library.written(library.writer(session))
            # A piece that is taken slowly enough to be no piece at all, as libcurl judges it.
            if self._seconds and (until is None or gone - went >= LOW_SPEED_BYTES * self._seconds):
                went, until = gone, self._until()
            self._wait(kind, until)

    def receive(self, into: memoryview) -> int:
        """See Channel.receive."""
        library, session = self._library, self._open()
        address, held = address_of(into)
        until = self._until()
        # An answer takes its time: waiting for it first spares a call that finds nothing.
        if not library.has_pending(session):
            self._wait(_WANT_READ, until)
        while (result := library.read_short(session, address, min(len(into), _MOST))) <= 0:
            kind = self._sort_out(result)
            if kind == _ZERO_RETURN:
                return 0
            self._wait(kind, until)
        del held
        return int(result)

    def receive_all(self, into: memoryview) -> int:
        """See Channel.receive_all."""
        wanted, have, hurried = len(into), 0, False
        self._open()
        address, held = address_of(into)
        until = self._until()
        while have < wanted:
            got, kind = self._take(address + have, min(wanted - have, _MOST))
            have += got
            if kind == _ZERO_RETURN:
                break
            if not kind or have == wanted:
                continue
            # OpenSSL holds a part of one record at most, so that this many must still come.
            if not hurried and self._wake_at(min(wanted - have - _LONGEST_RECORD, _ENOUGH)):
                hurried = not self._ready(kind, self._soon(until))
                continue
            self._wake_at(1)
            if not self._ready(kind, until):
                if not have:
                    raise TimeoutError
                break
        self._wake_at(1)
        del held
        return have

    def _wake_at(self, count: int) -> bool:
        """Be ready to read only once *count* bytes of ciphertext are there, or the end: each burst would wake us.

        False: so few that any byte will do.
        """
        count = count if count > _RECORD else 1
        if count != self._low:
            self._low = count
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        return count > 1

    @staticmethod
    def _soon(until: float | None) -> float:
        """How long to wait for many bytes at once: a message of TLS's own, which we must answer, may be shorter."""
        soon = time.monotonic() + _NAP
        return soon if until is None else min(soon, until)

    def _take(self, address: int, length: int) -> tuple[int, int]:
        """Bytes that came, and what more of them would wait for (0: for nothing)."""
        library = self._library
        if length <= _BUFFERED:
            got = library.read_short(self._session, address, length)
            return (got, 0) if got > 0 else (0, self._sort_out(got))
        read = library.read_through_short if length <= _SHORT else library.read_through
        got = read(self._reader, address, length)
        if got == length:
            return got, 0
        flags = library.reader_flags(self._reader, _FLAG_WRITE | _FLAG_RETRY)
        if flags & _FLAG_RETRY:
            return max(got, 0), _WANT_WRITE if flags & _FLAG_WRITE else _WANT_READ
        # The reader does not say what ended it; the session does.
        return (got, 0) if got > 0 else (0, self._look(address))

    def _look(self, address: int) -> int:
        """What reading a byte would wait for; 0: there is one, at *address* now. Raises OSError."""
        result = self._library.peek(self._session, address, 1)
        return 0 if result > 0 else self._sort_out(result)

    def _until(self) -> float | None:
        return time.monotonic() + self._seconds if self._seconds else None

    def _wait(self, kind: int, until: float | None) -> None:
        """Until the socket is ready for what *kind* wants. Raises TimeoutError at *until* (monotonic; None: never)."""
        if not self._ready(kind, until):
            raise TimeoutError

    def _ready(self, kind: int, until: float | None) -> bool:
        """Wait like `_wait`; False: it was not ready in time."""
        waits = self._writable if kind == _WANT_WRITE else self._readable
        left = None if until is None else max(0.0, until - time.monotonic()) * 1000
        return bool(waits.poll(left))

    def has_input(self) -> bool:
        """See Channel.has_input. TLS's own messages are none."""
        if self._ended or not self._session:
            return True
        if not self._library.has_pending(self._session) and not self._readable.poll(0):
            return False
        byte = bytearray(1)
        try:
            return self._look(address_of(byte)[0]) not in (_WANT_READ, _WANT_WRITE)
        except (OSError, ExchangeFailed):
            return True

    def has_leftover(self) -> bool:
        """See Channel.has_leftover."""
        return not self._session or bool(self._library.has_pending(self._session))

    def _open(self) -> int:
        """The session. Raises OSError where it is closed; what others left in this thread's errors is dropped."""
        if not self._session:
            raise OSError(errno.EBADF, "the connection is closed")
        self._library.clear_errors()
        return self._session

    def close(self) -> None:
        """Close the connection. Without close_notify: a forked child must not end what its parent still uses."""
        session, self._session = self._session, 0
        if session:
            self._library.free_reader(self._reader)
            self._library.free_session(session)
            self._socket.close()

    def _sort_out(self, result: int) -> int:
        """What a call that had this *result* waits for, or _ZERO_RETURN after its end was announced.

        Raises ConnectionAbortedError for an end that was not, other OSErrors, ExchangeFailed where it is not TLS.
        """
        library = self._library
        number = ctypes.get_errno()
        kind: int = library.kind(self._session, result)
        if kind in (_WANT_READ, _WANT_WRITE, _ZERO_RETURN):
            self._ended = kind == _ZERO_RETURN
            return kind
        reason = library.error()
        library.clear_errors()
        if kind == _SYSCALL and number:
            raise OSError(number, os.strerror(number))
        if kind == _SYSCALL or reason & _REASON == _UNEXPECTED_EOF:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the connection ended without TLS's own end")
        raise ExchangeFailed(Fault.RECEIVE_FAILED, f"TLS broke: {self._words(reason)}", 0.0)


def _records(pieces: tuple[bytes | memoryview, ...]) -> tuple[bytes | memoryview, ...]:
    """*pieces* as they are handed to OpenSSL: a short one shares its record with the beginning of the next."""
    if len(pieces) == 1:
        return pieces
    head, body = pieces
    room = _RECORD - len(head)
    if room <= 0:
        return pieces
    first = bytes(head) + bytes(body[:room])
    return (first, body[room:]) if len(body) > room else (first,)


def _made(handle: int | None) -> int:
    if not handle:
        raise MemoryError("OpenSSL")
    return handle


def ascii_name(host: str) -> bytes:
    """*host* as certificates and DNS spell it; b'' where they cannot."""
    host = host.rstrip(".")
    try:
        # The codec is a file, which a process without descriptors cannot open.
        name = host.encode("ascii") if host.isascii() else host.encode("idna")
    except UnicodeError:
        return b""
    return name if all(1 <= len(label) <= _LONGEST_LABEL for label in name.split(b".")) else b""
