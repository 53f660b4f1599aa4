"""Deletes of extraneous keys and delete markers: pinned to what the plan saw, intent recorded before the request."""

from __future__ import annotations

from executor.copy.job import Ended, Job, Stored
from schema.errors import DestinationChanged, ObjectMissing
from schema.facts import Fact


def delete_extraneous(job: Job) -> Ended:
    """Delete the destination's object if it is still what the plan saw and the source still has no object of that name;
    otherwise it is a conflict. One that is gone already counts as deleted.
    """
    entry = job.entry
    intent = f"delete {entry.target!r} with ETag {entry.etag}"
    job.tools.ask_ledger(lambda ledger: ledger.checkpoints.record_intent(job.work.chunk, job.ord, intent))
    return job.attempt(lambda: _delete_once(job))


def _delete_once(job: Job) -> Ended:
    route, entry = job.route, job.entry
    if _is_at_source(job):
        return job.conflict("the key has appeared at the source since the plan; not deleted, plan again")
    try:
        head = route.destination.head(entry.target)
        if head.etag != entry.etag or head.size != entry.size:
            return job.conflict(stored=Stored(head.etag or ""))
        condition = head.etag if route.destination_facts.enforces(Fact.DELETE_IF_MATCH) else None
        route.destination.delete(entry.target, if_match=condition)
    except ObjectMissing:
        pass
    except DestinationChanged:
        return job.conflict()
    return job.deleted()


def _is_at_source(job: Job) -> bool:
    """Whether the source has an object that would be copied to the key; unknown where rules map keys."""
    route = job.route
    key = route.source_key_of(job.entry.target)
    if key is None:
        return False
    try:
        route.source.head(key)
    except ObjectMissing:
        return False
    return True


def lay_marker(job: Job) -> Ended:
    """Lay a delete marker on top of the destination's history of the key."""
    return job.attempt(lambda: _lay_once(job))


def _lay_once(job: Job) -> Ended:
    answer = job.route.destination.delete(job.entry.target)
    return job.marker_laid(job.version_of(answer, marker=True))
