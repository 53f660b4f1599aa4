"""One part of an object: a pinned ranged GET and an UploadPart, through a buffer or, when too big, a window.

Where the endpoint copies by itself, an UploadPartCopy instead.
"""

from __future__ import annotations

from executor.attempts import AttemptCounter
from executor.carry import integrity
from executor.copy import server
from executor.copy.whole import OnRetry, Tools
from executor.copy.window import PartRange, PartWindow
from executor.ledger.values import PartRecord
from executor.route import SectionRuntime, pin
from schema.errors import Stopped
from schema.plan import Entry
from schema.tiers import WINDOW


def send_part(
    section: SectionRuntime,
    entry: Entry,
    part: PartRange,
    upload_id: str,
    tools: Tools,
    counter: AttemptCounter,
    on_retry: OnRetry,
) -> PartRecord:
    """Copy *part* into the upload, tried again after passing errors. Raises its last StoreError, or Stopped.

    A part of more than half the budget is read through a window while it is being sent, and checked against the
    server's answer; any other is held whole and proven before it is sent.
    """
    if section.server_copy:
        return tools.retrier.run(lambda: server.copy_part(section, entry, part, upload_id), counter, on_retry)
    total = tools.buffers.budget.total
    held = part.length <= total // 2
    view = tools.buffers.take(part.length if held else min(WINDOW, total), tools.gave_up)
    if view is None:
        raise Stopped("stopped while waiting for memory")

    def buffered() -> PartRecord:
        section.source.get(entry.key, view, pin=pin(entry), start=part.start, whole=False)
        proof = integrity.prove_part(view, section.destination_facts)
        answer = section.destination.upload_part(entry.target, upload_id, part.number, view, proof.headers)
        integrity.check_part(answer, proof, section.destination_facts, key=entry.target)
        return PartRecord(part.number, answer.etag, integrity.crc_bytes(proof.crc64nvme), part.length)

    def windowed() -> PartRecord:
        window = PartWindow(section, entry, part, view)
        answer = section.destination.upload_part_from(entry.target, upload_id, part.number, part.length, window.read)
        window.check(answer.etag, answer.headers)
        return PartRecord(part.number, answer.etag, integrity.crc_bytes(window.crc), part.length)

    try:
        return tools.retrier.run(buffered if held else windowed, counter, on_retry)
    finally:
        tools.buffers.give(view)
