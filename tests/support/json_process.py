"""Following the JSON lines of a command that runs in the background."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = 90.0
"""Seconds until something that must happen counts as not happening; the machine may be very busy."""


class Lines:
    """The JSON lines of a process, one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._lines: Iterator[str] = iter(process.stdout)
        self.seen: list[dict[str, Any]] = []

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next line that is *wanted*; the process must not end before."""
        for line in self._lines:
            said = json.loads(line)
            self.seen.append(said)
            if wanted(said):
                return said
        raise AssertionError(f"the process ended before; it said {self.seen[-3:]}")


def some_done(said: dict[str, Any]) -> bool:
    """A progress line with objects durable, and others to come."""
    return bool(said["type"] == "progress" and 0 < said["done"] < said["objects"])
