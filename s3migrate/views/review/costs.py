"""What a plan takes, in words: time, money and memory with what they leave out, other writers, a kill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from schema.facts import Fact
from schema.formats.quantities import counted_text
from schema.plan import Plan


class ReviewAnswer(NamedTuple):
    """One question of every reviewer, answered."""

    title: str
    text: str


def answers_of(plan: Plan) -> list[ReviewAnswer]:
    """How long, how much, how large, who else writes there, and what happens if it is killed."""
    estimate = plan.estimate
    return [
        ReviewAnswer("Time", _time(_part(estimate, "duration"), _part(estimate, "assumptions"))),
        ReviewAnswer("Money", _money(_part(estimate, "cost_usd"), _part(estimate, "assumptions"))),
        ReviewAnswer("Memory", _memory(_part(estimate, "memory_per_worker"), _part(estimate, "ledger"))),
        ReviewAnswer("Other writers", _other_writers(plan)),
        ReviewAnswer("If it is killed", "nothing is lost: the same command goes on where it was."),
    ]


def _part(estimate: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A map of the estimate; {} where it has none."""
    found = estimate.get(name)
    return found if isinstance(found, dict) else {}


def _time(duration: Mapping[str, Any], assumed: Mapping[str, Any]) -> str:
    if not duration:
        return "not known."
    low, expected, high = (duration.get(name, "unknown") for name in ("low", "expected", "high"))
    bound = str(duration.get("bound_by", "unknown")).replace("_", " ")
    waits = "; waiting for restores from archives" if "restore_wait" in assumed else ""
    processes = counted_text(assumed.get("worker_processes", 1), "process")
    machine = assumed.get("machine")
    where = f" on a machine like {machine.get('host')}" if isinstance(machine, dict) else ""
    measured = "measured" in assumed
    unseen = "an endpoint's own rate limits, other jobs" if measured else "no probe of the network was made"
    without = f"{assumed.get('not_counted', 'unknown')}{waits}; {unseen}"
    return f"{expected} expected ({low} to {high}) with {processes}{where}, bound by {bound}. Not in it: {without}."


def _money(cost: Mapping[str, Any], assumed: Mapping[str, Any]) -> str:
    if not cost:
        return "not known: prices are known only where both ends are at AWS and objects are moved."
    parts = ", ".join(f"{name} {cost.get(name)}" for name in ("requests", "retrieval", "traffic"))
    return f"{cost.get('total')} USD: {parts}. Not in it: {assumed.get('not_in_the_cost', 'unknown')}."


def _memory(memory: Mapping[str, Any], ledger: Mapping[str, Any]) -> str:
    if not memory:
        return "not known."
    return (
        f"{memory.get('expected')} a process, {memory.get('limit')} at most; the ledger grows by {ledger.get('disk')}."
    )


def _other_writers(plan: Plan) -> str:
    facts = (Fact.IF_NONE_MATCH, Fact.IF_MATCH)
    if all(section.destination_capabilities.enforces(fact) for section in plan.sections for fact in facts):
        return "are safe: a key that appears or changes at the destination after this plan is left alone, and named."
    return "may lose: the destination was not seen to enforce conditional writes. Keep them away during the run."
