"""Probing a store at once, and what changes the ways of a real one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from schema.errors import AccessRefused
from schema.facts import Capabilities
from storage.port import ObjectStore, RequestSample
from storage.probe.canary import Conduct
from storage.probe.destination import Questions, probe_destination
from storage.retrying import Retry, RetryPolicy

AT_ONCE = Conduct(Retry(RetryPolicy(attempts=3), random=lambda: 0.0), wait=lambda _abandoned, _seconds: None)
"""Never waits between two attempts."""


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
    own = {name: options.pop(name) for name in ("abandoned_ms", "far_seconds") if name in options}
    conduct = replace(AT_ONCE, **own)
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
