"""Archived objects: asked back from the archive once, looked at again later, copied when they can be read.

A restore takes minutes to two days. Nobody waits for it with a lease in hand: the chunk goes back to the ledger, to be
claimed not before a while, by this process or by one that is started days later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from executor.copy.whole import Tools
from executor.route import SectionRuntime
from schema.errors import ObjectArchived
from schema.objects import ObjectHead
from schema.plan import TRANSFER_ACTIONS, Action, Entry
from schema.storage_classes import readable

ARCHIVED_STAGE = "archived"
"""Id of the plan's stage whose objects must be restored first."""


def unreadable(
    section: SectionRuntime, entries: Sequence[Entry], tools: Tools, told: Callable[[Entry], None]
) -> list[Entry]:
    """Those of *entries* that cannot be read yet; each has its restore requested, and *told* of a new request.

    Raises StoreErrors.
    """
    waiting = []
    for entry in entries:
        if entry.action not in TRANSFER_ACTIONS - {Action.DELETE, Action.DELETE_MARKER}:
            continue
        if tools.again(lambda entry=entry: _ready(section, entry, told)) is not True:  # type: ignore[misc]
            waiting.append(entry)
    return waiting


def _ready(section: SectionRuntime, entry: Entry, told: Callable[[Entry], None]) -> bool:
    head = section.source.head(entry.key, version_id=entry.version_id)
    if readable(head):
        return True
    if "x-amz-restore" in head.headers:
        return False
    _request(section, entry, head)
    told(entry)
    # Some endpoints restore at once.
    return readable(section.source.head(entry.key, version_id=entry.version_id))


def _request(section: SectionRuntime, entry: Entry, head: ObjectHead) -> None:
    """RestoreObject; one that is under way already is what was wanted."""
    query = [("restore", "")] + ([("versionId", entry.version_id)] if entry.version_id else [])
    tiered = bool(head.headers.get("x-amz-archive-status"))
    document = restore_document(section.plan.policy.restore_days, section.plan.policy.restore_tier, tiered=tiered)
    try:
        section.source.subresource("POST", entry.key, query, document)
    except ObjectArchived as error:
        if error.code != "RestoreAlreadyInProgress":
            raise


def restore_document(days: int, tier: str, *, tiered: bool) -> bytes:
    """The body of a RestoreObject. *tiered*: Intelligent-Tiering takes the object back for good and wants no Days."""
    kept = "" if tiered else f"<Days>{days}</Days>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{kept}<GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
    ).encode()
