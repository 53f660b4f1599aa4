"""A whole run whose retry budget is short: retries wait for it, and nothing fails for having waited."""

from __future__ import annotations

import random

import pytest
from support.corpus import mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Reset, Rule
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill, keys

from executor.flow import retry_budget

APART = 0.4
"""Seconds between two retries that a budget without savings affords, here."""


def test_retries_wait_for_the_budget(on_rclone: Operator, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(on_rclone.source.client(), on_rclone.source_bucket, mixed(seed, 6, largest=2_000, tags=False))
    poison = keys(on_rclone.source_side)[3]
    with FaultProxy(on_rclone.destination.endpoint_url, seed=seed) as proxy:
        on_rclone.destination_url = proxy.endpoint_url
        on_rclone.plan().ok()
        monkeypatch.setattr(retry_budget, "CAPACITY", retry_budget.COST)
        monkeypatch.setattr(retry_budget, "REFILL_PER_SECOND", retry_budget.COST / APART)
        monkeypatch.setattr(retry_budget, "EARNED", 0.0)
        monkeypatch.setattr(random, "random", lambda: 0.0)  # no jitter: only the budget makes a retry wait
        proxy.forget()
        proxy.rules = [Rule(Reset(), operations=("put",), key=poison, times=3)]
        ran = on_rclone.apply("--json")
    ran.ok()
    asked = [exchange.started for exchange in proxy.history if exchange.operation == "put" and exchange.key == poison]
    assert len(asked) == 4
    assert asked[3] - asked[1] > 1.5 * APART, "the first retry was saved up, the others had to be waited for"
    assert ran.lines("run_complete")[0]["failed"] == 0
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []
