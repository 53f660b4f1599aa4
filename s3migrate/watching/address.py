"""The HOST:PORT at which a page or metrics are served. Loopback by default."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

LOOPBACK = "127.0.0.1"
_LOCAL_NAMES = frozenset({"localhost"})


class Address(NamedTuple):
    """A host and a port to listen at; port 0: any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse '9100', ':9100', 'host:9100', '[::1]:9100' or 'host'. Raises ValueError."""
        host, colon, port = text.strip().rpartition(":")
        if not colon:
            host, port = ("", text.strip()) if text.strip().isdigit() else (text.strip(), "0")
        elif text.endswith("]"):
            host, port = text.strip(), "0"
        if not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise ValueError(f"{text[:60]!r} is not an address; write HOST:PORT, or a port alone for {LOOPBACK}")
        return cls(host.strip("[]") or LOOPBACK, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() in _LOCAL_NAMES

    @property
    def url(self) -> str:
        """For people."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"
