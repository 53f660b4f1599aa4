"""What a plan costs, in words: time, money and memory and what these leave out; other writers; a kill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from schema.facts import Fact
from schema.formats.quantities import counted_text
from schema.plan import Plan


class ReviewAnswer(NamedTuple):
    """The answer to a question that every reviewer has."""

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
        ReviewAnswer("If it is killed", "nothing is lost: the same command resumes it."),
    ]


def _part(estimate: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping in the estimate; {} if there is none."""
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
    return f"{expected} expected ({low} to {high}) with {processes}{where}, bound by {bound}. Not included: {without}."


def _money(cost: Mapping[str, Any], assumed: Mapping[str, Any]) -> str:
    if not cost:
        return "not known: there are prices only if both ends are at AWS and objects are moved."
    parts = ", ".join(f"{name} {cost.get(name)}" for name in ("requests", "retrieval", "traffic"))
    return f"{cost.get('total')} USD: {parts}. Not included: {assumed.get('not_in_the_cost', 'unknown')}."


def _memory(memory: Mapping[str, Any], ledger: Mapping[str, Any]) -> str:
    if not memory:
        return "not known."
    return (
        f"{memory.get('expected')} per process, at most {memory.get('limit')}; the ledger grows by "
        f"{ledger.get('disk')}."
    )


def _other_writers(plan: Plan) -> str:
    facts = (Fact.IF_NONE_MATCH, Fact.IF_MATCH)
    if all(section.destination_capabilities.enforces(fact) for section in plan.sections for fact in facts):
        return "are safe: a key that appears or changes at the destination after this plan is left alone and reported."
    return "may lose data: the destination was not seen to enforce conditional writes. Keep them away during the run."
