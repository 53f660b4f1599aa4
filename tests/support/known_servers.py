"""What a probe would find of the run's own servers again and again is asked once by each process.

Hundreds of plans are made between the same few servers, and a probe is most of what a small plan costs. A plan still
reads its bucket's settings and writes and removes a canary; the checks that follow are made for the first plan with
these settings and questions, and their findings stand for the later ones. Tests of the probe call it without a plan, or
through a proxy: those are never spared anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from s3migrate.planning import probing
from schema.facts import Facts
from storage.probe import destination
from storage.probe.canary import Canary
from storage.s3.store import S3Store

_KNOWN: set[str] = set()
"""URLs of the servers that every test of a process shares."""
_PLANNING: ContextVar[bool] = ContextVar("planning", default=False)


@contextmanager
def known(url: str) -> Iterator[None]:
    """Meanwhile the server at *url* does the same whenever it is asked the same."""
    _KNOWN.add(url)
    try:
        yield
    finally:
        _KNOWN.discard(url)


@contextmanager
def probed_once() -> Iterator[None]:
    """Meanwhile plans remember what they have found of known servers."""
    found: dict[str, Facts] = {}
    settings: WeakKeyDictionary[Canary, Facts] = WeakKeyDictionary()
    probe, begin, checks = probing.probe_destination, destination._begin, destination._write_checks

    def planned(*arguments: Any, **named: Any) -> Any:
        before = _PLANNING.set(True)
        try:
            return probe(*arguments, **named)
        finally:
            _PLANNING.reset(before)

    def begun(canary: Canary, other_ways: Any, facts: Facts) -> Facts:
        settings[canary] = dict(facts)
        return begin(canary, other_ways, facts)

    def checked(canary: Canary, asked: Any, *, acl: bool) -> Facts:
        store = canary.store
        if not _PLANNING.get() or not isinstance(store, S3Store) or store._side.endpoint_url not in _KNOWN:
            return checks(canary, asked, acl=acl)
        place = replace(store._side, bucket="")
        case = repr((place, canary.prefix, sorted(settings[canary].items()), replace(asked, other_ways=()), acl))
        if case not in found:
            found[case] = checks(canary, asked, acl=acl)
        return dict(found[case])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "probe_destination", planned)
        patch.setattr(destination, "_begin", begun)
        patch.setattr(destination, "_write_checks", checked)
        yield
