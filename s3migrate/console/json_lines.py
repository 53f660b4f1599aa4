"""--json: one object per line on stdout. Minor versions add keys; consumers ignore those they do not know."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from s3migrate import __version__
from s3migrate.console import output
from schema.formats.quantities import counted_text

FORMAT = "1.0"


class JsonLines:
    """Writes objects to stdout; the first names the versions of the tool and of the format."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.emit({"type": "version", "format": FORMAT, "tool": __version__})

    def emit(self, message: dict[str, Any]) -> None:
        """Write one line; lines of several threads never mix. A newer progress line may replace an older one."""
        line = json_line(message)
        with self._lock:
            if message["type"] == "progress":
                output.progress(line, err=False)
            else:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()


def json_line(message: dict[str, Any]) -> str:
    """*message* and the time, as one line."""
    stamped = {**message, "at": datetime.now(UTC).isoformat(timespec="milliseconds")}
    return json.dumps(stamped, ensure_ascii=True, default=_plain)


def left_out(count: int) -> str:
    """The line that stands for *count* lines that were not read."""
    return json_line(
        {"type": "left_out", "lines": count, "message": f"{counted_text(count, 'line')} not written: nobody read them"}
    )


def _plain(value: object) -> str:
    """Values JSON does not have: times as ISO 8601, bytes (checksums) as hexadecimal digits, ids as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes | memoryview) else str(value)
