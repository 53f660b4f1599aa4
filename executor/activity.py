"""What each thread is at right now: one attribute, written by the thread itself and looked at by another.

The thread needs no clock and no lock: an observer looks ten times a second (executor/apply/history.py). That costs the
thread one store per request, and a long wait is seen while it lasts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from schema.flow.samples import Activity


class ThreadActivity:
    """What one thread is doing; only that thread writes it."""

    __slots__ = ("doing", "limit")

    def __init__(self) -> None:
        self.doing = Activity.WORKING
        self.limit = ""
        """The limit's name, while `doing` is Activity.LIMIT."""


_threads = threading.local()


def mine() -> ThreadActivity:
    """The calling thread's."""
    try:
        found: ThreadActivity = _threads.activity
    except AttributeError:
        found = _threads.activity = ThreadActivity()
    return found


@contextmanager
def waiting(what: Activity, limit: str = "") -> Iterator[None]:
    """Marks the calling thread as waiting for *what*; afterwards as doing what it did before."""
    activity = mine()
    before = activity.doing
    activity.limit = limit
    activity.doing = what
    try:
        yield
    finally:
        activity.doing = before
