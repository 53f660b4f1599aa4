"""Whether a plan is what its declaration expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

from schema.declaration import Expect, ExpectedRange
from schema.errors import Unexpected
from schema.formats.quantities import count_text, duration_text, size_text
from schema.plan import Action, Plan, Tally


def refuse_unexpected(plan: Plan, expect: Expect) -> None:
    """Raise Unexpected that names everything of *plan* that is not as *expect* says."""
    found = [*_amounts(plan, expect), *_cost(plan, expect), *_duration(plan, expect)]
    if found:
        raise Unexpected(
            f"the plan is not what the declaration expects: {'; '.join(found)}. No plan was written. Is this the right "
            "bucket and prefix? If it is meant, change `expect` and plan again"
        )


def _amounts(plan: Plan, expect: Expect) -> Iterator[str]:
    taking_part = [
        (section.summary.get("listed", Tally()), section.summary.get(Action.EXCLUDED, Tally()))
        for section in plan.sections
    ]
    objects = sum(listed.objects - excluded.objects for listed, excluded in taking_part)
    size = sum(listed.bytes - excluded.bytes for listed, excluded in taking_part)
    yield from _outside("objects", objects, expect.objects, say=count_text)
    yield from _outside("bytes", size, expect.bytes, say=size_text)


def _outside(name: str, found: int, span: ExpectedRange | None, *, say: Callable[[int], str]) -> Iterator[str]:
    if span is not None and not span.least <= found <= span.most:
        expected = say(span.least) if span.least == span.most else f"{say(span.least)} to {say(span.most)}"
        yield f"{say(found)} {'objects ' if name == 'objects' else ''}take part, and expect.{name} is {expected}"


def _cost(plan: Plan, expect: Expect) -> Iterator[str]:
    if expect.max_cost_usd is None or not plan.batches:
        return
    cost = plan.estimate.get("cost_usd")
    if not isinstance(cost, dict):
        why = "prices are known only where both ends are at AWS"
        yield f"what it costs is not known ({why}), and expect.max_cost_usd is {expect.max_cost_usd}"
    elif Decimal(str(cost["total"])) > expect.max_cost_usd:
        yield f"it will cost about {cost['total']} USD, and expect.max_cost_usd is {expect.max_cost_usd}"


def _duration(plan: Plan, expect: Expect) -> Iterator[str]:
    seconds = int(plan.estimate["figures"]["seconds"])
    if expect.max_duration is not None and seconds > expect.max_duration:
        most = duration_text(expect.max_duration)
        yield f"it will take about {duration_text(seconds)}, and expect.max_duration is {most}"
