"""--json: one object a line on stdout. Minor versions add keys; consumers ignore those they do not know."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from s3migrate import __version__

FORMAT = "1.0"


class JsonLines:
    """Writes objects to stdout; the first says which tool and format speak."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.emit({"type": "version", "format": FORMAT, "tool": __version__})

    def emit(self, message: dict[str, Any]) -> None:
        """One line, whole: lines of several threads never mix."""
        stamped = {**message, "at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        line = json.dumps(stamped, ensure_ascii=True, default=_plain)
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def _plain(value: object) -> str:
    """What JSON has no word for: times as ISO 8601, bytes (checksums) as hexadecimal digits, ids as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes | memoryview) else str(value)
