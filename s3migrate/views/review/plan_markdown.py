"""A plan as a comment on a pull request: the first screen is enough to decide, the rest is one click away, and the
length is bounded.

When the text would exceed LIMIT, whole sections are left out, the last ones first; the last line names them. Names,
keys and whatever else came from outside are put in code spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from s3migrate.plan_url import PlanUrl
from s3migrate.views.markdown import TEXT_BYTES, cell, code, few, plain_or_code
from s3migrate.views.plan_text import by_method, extent, side_text, stages_of
from s3migrate.views.review.costs import answers_of
from s3migrate.views.review.verdict import (
    Concern,
    Sample,
    Verdict,
    apply_command,
    concerns_of,
    shares_of,
    verdict_of,
    verdict_words,
)
from schema.formats.escape import markdown_code, one_line
from schema.formats.quantities import count_text, counted_text, size_text
from schema.plan import Action, Place, Plan, Tally

LIMIT = 15_900
"""Bytes. GitHub accepts 65,536 characters, Bitbucket 32,768; nobody reads more than this."""
ANSWER_BYTES = 500
CONCERNS = 12
BUCKETS = 12
BATCHES = 100
"""Most batches named; the text format names all."""


@dataclass(frozen=True, slots=True)
class Block:
    """A section of the text: shown whole or left out."""

    title: str
    lines: tuple[str, ...]
    folded: bool = False
    """Collapsed until it is clicked."""

    def text(self) -> str:
        """With its title."""
        body = "\n".join(self.lines)
        if self.folded:
            return f"<details><summary>{self.title}</summary>\n\n{body}\n\n</details>"
        return f"**{self.title}**\n\n{body}" if self.title else body


def plan_markdown(plan: Plan, path: Path | PlanUrl, sample: Sample, *, changes: Sequence[str] | None = None) -> str:
    """The comment on the plan at *path*; *changes* are lines of changes_markdown against the previous plan."""
    verdict = verdict_of(plan)
    if verdict.nothing_to_do and not verdict.losses_not_accepted:
        return _nothing_to_do(plan, verdict)
    blocks = [
        Block("", tuple(_head(plan, verdict))),
        Block("Look at these first", tuple(_concerns(concerns_of(plan, verdict, path)))),
        Block(
            "Time, money, memory",
            tuple(_answers(plan)),
        ),
        Block("Approve and apply", (_code_block(apply_command(plan, path)), *_freshness(plan))),
        *(() if changes is None else (Block("Changed since the previous plan", tuple(changes)),)),
        *_details(plan, sample),
    ]
    return _bounded(blocks)


def _bounded(blocks: Sequence[Block]) -> str:
    """As many complete *blocks*, in order, as fit into LIMIT."""
    texts: list[str] = []
    left: list[str] = []
    size = 0
    for block in blocks:
        text = block.text()
        more = len(text.encode("utf-8", "surrogatepass")) + 2
        if size + more > LIMIT - 300:
            left.append(block.title.lower())
            continue
        texts.append(text)
        size += more
    if left:
        texts.append(f"Left out to keep this short: {', '.join(left)}. `s3migrate show` has all of it.")
    return "\n\n".join(texts)


def marker(plan: Plan) -> str:
    """A hidden line by which an earlier comment on this migration is found and replaced."""
    return f"<!-- s3migrate:{plan.lineage} -->"


def _nothing_to_do(plan: Plan, verdict: Verdict) -> str:
    there = counted_text(verdict.already_there, "object")
    return f"{marker(plan)}\n**s3migrate** {code(plan.name)}: nothing to do, {there} already there."


def _head(plan: Plan, verdict: Verdict) -> Iterator[str]:
    yield marker(plan)
    yield f"### s3migrate {code(plan.name)}: {' · '.join(verdict_words(verdict))}"
    yield ""
    first = plan.sections[0]
    more = f" and {counted_text(len(plan.sections) - 1, 'more pair')}" if len(plan.sections) > 1 else ""
    moved = f"{counted_text(verdict.creates + verdict.overwrites, 'object')}, {size_text(verdict.bytes)} to write"
    yield f"{moved}, from {code(side_text(first.source))} to {code(side_text(first.destination))}{more}."
    others = [
        (verdict.already_there, "already there"),
        (verdict.excluded, "excluded by filters"),
        (verdict.kept, "at the destination only and kept"),
    ]
    told = [f"{count_text(number)} {what}" for number, what in others if number]
    if told:
        yield f"Left alone: {', '.join(told)}."


def _concerns(concerns: Sequence[Concern]) -> Iterator[str]:
    if not concerns:
        yield "Nothing: no deletes, no overwrites, no unaccepted losses, no conflicts, no high risks."
    for concern in concerns[:CONCERNS]:
        keys = f", e.g. {', '.join(map(code, concern.keys))}" if concern.keys else ""
        command = f"; all: {markdown_code(concern.command)}" if concern.command else ""
        yield f"- {plain_or_code(concern.text)}{keys}{command}"
    if len(concerns) > CONCERNS:
        yield f"- and {count_text(len(concerns) - CONCERNS)} more: `s3migrate show`"


def _answers(plan: Plan) -> Iterator[str]:
    for answer in answers_of(plan):
        yield f"- **{answer.title}** {plain_or_code(answer.text, ANSWER_BYTES)}"


def _freshness(plan: Plan) -> Iterator[str]:
    listed = plan.provenance.get("generated_at")
    if isinstance(listed, str):
        yield f"Serial {plan.serial}, listed {code(listed)}. What has changed since is left alone and reported."


def _details(plan: Plan, sample: Sample) -> Iterator[Block]:
    overview = plan.overview
    if overview is not None:
        several = len(plan.sections) > 1
        yield Block("Where", tuple(_places(overview.places, overview.places_left, several=several)))
        yield Block("What", tuple(_what(plan)), folded=True)
    yield Block(f"{len(sample.drawn)} objects drawn by the plan's hash", tuple(_sampled(sample)), folded=True)
    yield Block("How", tuple(_methods(plan)), folded=True)
    yield Block("Risks and losses", tuple(_risks(plan)), folded=True)
    if len(plan.sections) > 1:
        yield Block("Pairs of buckets", tuple(_pairs(plan)), folded=True)
    if plan.batches:
        yield Block("Stages and batches", tuple(_batches(plan)), folded=True)


def _places(places: Iterable[Place], left: Place | None, *, several: bool) -> Iterator[str]:
    yield from ("| prefix | delete | overwrite | copy | written |", "|---|--:|--:|--:|--:|")
    for place in places:
        name = f"{place.section}: {place.prefix}" if several else place.prefix
        shown = cell(name) if name else "everything"
        direct = " (directly in it)" if place.direct else ""
        yield f"| {shown}{direct} | {_figures(place)} |"
    if left is not None:
        yield f"| all other prefixes | {_figures(left)} |"


def _figures(place: Place) -> str:
    counts = " | ".join(count_text(number) for number in (place.delete, place.overwrite, place.copy))
    return f"{counts} | {size_text(place.bytes)}"


def _what(plan: Plan) -> Iterator[str]:
    if plan.overview is None:
        return
    for title, shares in shares_of(plan.overview):
        yield from (f"| {title} | objects | bytes |", "|---|--:|--:|")
        yield from (
            f"| {plain_or_code(each.name)} | {count_text(each.objects)} | {size_text(each.bytes)} |" for each in shares
        )
        yield ""
    yield "Largest: " + ", ".join(f"{code(key)} {size_text(size)}" for key, size in plan.overview.largest)


def _sampled(sample: Sample) -> Iterator[str]:
    for _section, _batch, entry in sample.drawn:
        target = "" if entry.target == entry.key else f" → {code(entry.target)}"
        size = "" if entry.action is Action.DELETE else f", {size_text(entry.size)}"
        yield f"- {entry.action} {code(entry.key)}{target}{size}"
    if sample.missing is not None:
        yield f"- incomplete: {code(sample.missing, TEXT_BYTES)}"


def _methods(plan: Plan) -> Iterator[str]:
    groups = by_method(plan)
    rows = [
        f"- {code(section.id)} by **{method}**: {code(why, TEXT_BYTES)} ({extent(groups[section.id, method])})"
        for section in plan.sections
        for method, why in section.methods.items()
    ]
    yield from few(rows, BUCKETS, "s3migrate show")


def _risks(plan: Plan) -> Iterator[str]:
    losses = [
        f"- loss {code(loss.id)} in {code(section.id)} ({'accepted' if loss.accepted else '**not accepted**'}): "
        f"{code(loss.text, TEXT_BYTES)}"
        for section in plan.sections
        for loss in section.losses
    ]
    risks = [f"- risk **{risk.level}**: {code(risk.text, TEXT_BYTES)}" for risk in plan.risks]
    yield from few([*losses, *risks], 16, "s3migrate show")


def _pairs(plan: Plan) -> Iterator[str]:
    yield from ("| pair | delete | overwrite | copy | not migrated | already there |", "|---|--:|--:|--:|--:|--:|")
    for section in plan.sections[:BUCKETS]:
        counts = [
            sum(section.summary.get(action, Tally()).objects for action in actions)
            for actions in (
                (Action.DELETE,), (Action.OVERWRITE,), (Action.COPY,), (Action.CONFLICT, Action.UNSUPPORTED),
                (Action.SKIP,),
            )
        ]  # fmt: skip
        ends = f"{section.id}: {side_text(section.source)} → {side_text(section.destination)}"
        yield f"| {cell(ends)} | {' | '.join(map(count_text, counts))} |"
    if len(plan.sections) > BUCKETS:
        yield f"\nand {count_text(len(plan.sections) - BUCKETS)} more: `s3migrate show`"


def _batches(plan: Plan) -> Iterator[str]:
    yield from ("| stage | batches | objects | bytes |", "|---|--:|--:|--:|")
    for stage in stages_of(plan):
        sums = f"{stage.batches} | {count_text(stage.objects)} | {size_text(stage.bytes)}"
        yield f"| {plain_or_code(stage.name)} | {sums} |"
    yield from ("", "| batch | section | stage | method | objects | bytes |", "|---|---|---|---|--:|--:|")
    for batch in plan.batches[:BATCHES]:
        names = " | ".join(map(plain_or_code, (batch.id, batch.section, batch.stage, batch.method or "delete")))
        yield f"| {names} | {count_text(batch.objects)} | {size_text(batch.bytes)} |"
    left = len(plan.batches) - BATCHES
    if left > 0:
        yield from ("", f"and {count_text(left)} more: `s3migrate show`")


def _code_block(command: str) -> str:
    """A command to copy, on one line: a line feed in a path cannot end the block."""
    return f"```\n{one_line(command)}\n```"
