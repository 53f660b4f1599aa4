"""What apply can do about an endpoint that is down: probe it, or move to another declared one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import cycle

from executor.apply.endpoint_watch import EndpointCare
from schema.declaration import Side
from schema.ends import endpoint_of, server_of
from storage.endpoint_trials import EndpointTrials
from storage.s3.store import S3Store

PROBE_KEY = ".s3migrate-probe/is-the-endpoint-back"
"""A working endpoint answers its HEAD with 404 or 403. Nothing is ever written there."""


def care_for(
    pairs: Iterable[tuple[Side, S3Store]], trials: Mapping[S3Store, EndpointTrials]
) -> Mapping[str, EndpointCare]:
    """What can be done about each endpoint, by its name; *pairs* are the run's stores with the sides they serve."""
    by_name: dict[str, list[tuple[Side, S3Store]]] = {}
    for side, store in pairs:
        by_name.setdefault(endpoint_of(side), []).append((side, store))
    return {name: _care(members, trials) for name, members in by_name.items()}


def _care(members: list[tuple[Side, S3Store]], trials: Mapping[S3Store, EndpointTrials]) -> EndpointCare:
    probe_store = members[0][1]
    tried = next((trials[store] for _, store in members if store in trials), None)

    def probe() -> object:
        return probe_store.head(PROBE_KEY)

    declared = next((side.endpoint_candidates for side, _ in members if len(side.endpoint_candidates) > 1), ())
    if not declared:
        return EndpointCare(probe)
    # The planned endpoint is in use: begin with the one after it and come back to it last.
    start = declared.index(members[0][0].endpoint_url) if members[0][0].endpoint_url in declared else 0
    ring = cycle([*declared[start + 1 :], *declared[: start + 1]])

    def move() -> str:
        url = next(ring)
        for side, store in members:
            # Another pair may spell the same server differently.
            own = [candidate for candidate in side.endpoint_candidates if server_of(candidate) == server_of(url)]
            if own:
                trials.get(store, store).move_to(own[0])
        return url

    return EndpointCare(probe, move, None if tried is None else tried.in_use)
