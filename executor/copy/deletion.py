"""Deletes of extraneous keys and delete markers: pinned to what the plan saw, intent recorded before the request."""

from __future__ import annotations

from typing import Protocol

from executor.attempts import AttemptCounter
from executor.copy.whole import Landed, OnRetry, Tools
from executor.ledger.values import Chunk, Completion, Outcome
from executor.route import SectionRuntime
from schema.errors import DestinationChanged, ObjectMissing
from schema.plan import Entry


class IntentLedger(Protocol):
    """What a delete asks of the ledger."""

    def record_intent(self, chunk: Chunk, ord: int, text: str) -> None:
        """Durable when it returns; raises LeaseLost when the chunk is no longer ours."""


def delete_extraneous(
    section: SectionRuntime, entry: Entry, chunk: Chunk, ord: int, ledger: IntentLedger, tools: Tools, tell: OnRetry
) -> Completion:
    """Delete the destination's *entry* if it is still what the plan saw; else CONFLICT. Gone already: DELETED."""
    counter = AttemptCounter()
    ledger.record_intent(chunk, ord, f"delete {entry.target!r} with ETag {entry.etag}")

    def once() -> Completion:
        try:
            head = section.destination.head(entry.target)
            if head.etag != entry.etag or head.size != entry.size:
                return Completion(chunk.batch_no, ord, Outcome.CONFLICT, 1, 0, head.etag, b"")
            condition = entry.etag if section.destination_facts.enforces("delete_if_match") else None
            section.destination.delete(entry.target, if_match=condition)
        except ObjectMissing:
            pass
        except DestinationChanged:
            return Completion(chunk.batch_no, ord, Outcome.CONFLICT, 1, 0, "", b"")
        return Completion(chunk.batch_no, ord, Outcome.DELETED, counter.used + 1, 0, "", b"")

    return tools.retrier.run(once, counter, tell)


def lay_marker(
    section: SectionRuntime,
    entry: Entry,
    chunk: Chunk,
    ord: int,
    tools: Tools,
    tell: OnRetry,
    landed: Landed | None = None,
) -> Completion:
    """Lay a delete marker on top of the destination's history of *entry*'s key.

    *landed* tells, before a repeated request, whether the marker is there already.
    """
    counter = AttemptCounter()

    def once() -> Completion:
        found = landed() if landed is not None and (counter.used or counter.throttled) else None
        if found is not None:
            return found
        answer = section.destination.delete(entry.target)
        return Completion(
            chunk.batch_no, ord, Outcome.MARKER_LAID, counter.used + 1, 0, "", b"", section.version(answer.version_id)
        )

    return tools.retrier.run(once, counter, tell)
