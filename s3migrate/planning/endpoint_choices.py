"""At plan time: when a side declares several endpoints, measure each and put the best into the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from schema.declaration import Declaration, Side
from schema.errors import DeclarationError
from schema.plan import Plan
from schema.timeouts import Timeouts
from storage.endpoint_choice import CandidateProbe, choose, chosen_side, probe_candidate, strangers
from storage.open_store import open_store


def with_chosen_endpoints(
    declaration: Declaration, base: Plan | None, clock: Callable[[], float]
) -> tuple[Declaration, dict[str, Any]]:
    """*declaration* with one endpoint in use on every side, and what the candidates answered, by URL.

    *base*: the previous plan; its choices are kept while they are still good. A side with one endpoint is not measured.
    Raises StoreErrors when no candidate of a side can be reached, DeclarationError when two lead to different buckets.
    """
    figures: dict[str, Any] = {}
    before = {section.id: section for section in base.sections} if base is not None else {}
    ask = partial(_probe, clock=clock, timeouts=declaration.timeouts)
    pairs = []
    for pair in declaration.pairs:
        known = before.get(pair.id)
        source = _chosen(pair.source, known.source if known else None, figures, ask=ask)
        destination = _chosen(pair.destination, known.destination if known else None, figures, ask=ask)
        pairs.append(replace(pair, source=source, destination=destination))
    return replace(declaration, pairs=tuple(pairs)), figures


def _chosen(
    side: Side, earlier: Side | None, figures: dict[str, Any], *, ask: Callable[[Side, str], CandidateProbe]
) -> Side:
    if len(side.endpoint_candidates) < 2:
        return side
    probes = [ask(side, url) for url in side.endpoint_candidates]
    if strangers(probes) is not None:
        probes = [ask(side, url) for url in side.endpoint_candidates]  # somebody may have written meanwhile
    if (two := strangers(probes)) is not None:
        raise DeclarationError(
            f"endpoint_url: {two[0]} and {two[1]} do not lead to the same bucket: s3://{side.bucket}/{side.prefix} "
            "begins with different keys at each; name only endpoints of one bucket"
        )
    figures |= {probe.url: probe.figures() for probe in probes}
    return chosen_side(side, choose(probes, earlier.endpoint_url if earlier is not None else None))


def _probe(side: Side, url: str, *, clock: Callable[[], float], timeouts: Timeouts) -> CandidateProbe:
    store = open_store(replace(side, endpoint_url=url), timeouts=timeouts)
    try:
        return probe_candidate(url, store, side.prefix, clock=clock)
    finally:
        store.close()
