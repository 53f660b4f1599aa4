"""libcurl's error numbers as faults; and whether this process had run out of descriptors.

Source: libcurl-errors(3).
"""

from __future__ import annotations

import errno
import os
import re

from storage.wire.exchange import ExchangeFailed, Fault

_FAULTS: dict[int, Fault] = {
    **dict.fromkeys((5, 6), Fault.NO_HOST),
    7: Fault.NO_CONNECTION,
    3: Fault.UNSENDABLE,
    **dict.fromkeys((1, 8, 23, 61), Fault.MALFORMED),
    18: Fault.CUT_SHORT,
    27: Fault.NO_MEMORY,
    28: Fault.TIMED_OUT,
    35: Fault.TLS_BROKEN,
    52: Fault.NO_ANSWER,
    55: Fault.SEND_FAILED,
    56: Fault.RECEIVE_FAILED,
    **dict.fromkeys((53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91), Fault.TLS_REFUSED),
}
_TLS_CONNECT_ERROR = 35
_HANDSHAKE_REFUSED = re.compile(r"certificate|wrong version number|unsupported protocol|alert", re.IGNORECASE)
"""Words of a TLS handshake that was refused; without them the connection broke."""
_UNEXPECTED_END = "unexpected eof"
_NEEDS_DESCRIPTORS = frozenset({2, 5, 6, 7, 27, 35, 45, 77})
"""What libcurl says where it could open no socket, no file of certificates, no queue of its own."""


def failed(number: int, text: str, seconds: float, *, os_error: int = 0, begun: bool = False) -> ExchangeFailed:
    """The failure behind libcurl's *number* and *text*.

    *os_error*: of its last connect, 0: unknown. *begun*: some of the answer had come.
    """
    if number in _NEEDS_DESCRIPTORS and (os_error in (errno.EMFILE, errno.ENFILE) or descriptors_spent()):
        fault = Fault.NO_DESCRIPTORS
    elif number == _TLS_CONNECT_ERROR and _HANDSHAKE_REFUSED.search(text):
        fault = Fault.TLS_REFUSED
    elif begun and _UNEXPECTED_END in text:
        # Over TLS: a connection closed without close_notify.
        fault = Fault.CUT_SHORT
    else:
        fault = _FAULTS.get(number, Fault.RECEIVE_FAILED)
    return ExchangeFailed(fault, text, seconds, number=number)


def descriptors_spent() -> bool:
    """Whether no further file can be opened right now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False
