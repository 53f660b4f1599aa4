"""Probing a store at once, and what changes the ways of a real one."""

from __future__ import annotations

from typing import Any

from schema.errors import AccessRefused
from schema.facts import Capabilities
from storage.port import ObjectStore, RequestSample
from storage.probe.canary import ABANDONED_MS, FAR_SECONDS, Conduct
from storage.probe.destination import Questions, probe_destination
from storage.retrying import Retry, RetryPolicy

AT_ONCE = Retry(RetryPolicy(attempts=3), wait=lambda _seconds: None, random=lambda: 0.0)


class Counter:
    """Observer of requests."""

    def __init__(self) -> None:
        self.operations: list[str] = []

    def before(self, operation: str, size: int) -> None:
        """Nothing."""

    def after(self, sample: RequestSample) -> None:
        """Remember the operation."""
        self.operations.append(sample.operation)


def probe(store: Any, prefix: str = "", name: str = "t", **options: Any) -> Capabilities:
    """What a probe named *name* finds; it never waits between two attempts."""
    conduct = Conduct(AT_ONCE, options.pop("abandoned_ms", ABANDONED_MS), options.pop("far_seconds", FAR_SECONDS))
    return probe_destination(store, prefix, Questions(**options), token=name, conduct=conduct)


class Through:
    """Everything goes to the real store; subclasses change what they like."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Denying(Through):
    """403 for one kind of call."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        super().__init__(store)
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name != self._name:
            return getattr(self._store, name)

        def denied(*_: Any, **__: Any) -> Any:
            raise AccessRefused(f"{name} denied", status=403)

        return denied
