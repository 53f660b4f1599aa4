"""Archived objects: restored by one request, checked again later, copied once they can be read.

A restore takes minutes to two days. No worker waits for it while holding a lease: the chunk goes back to the ledger,
not to be claimed for a while, by this process or by one that is started days later.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from executor.copy.job import Job
from executor.route import Route
from schema.errors import ObjectArchived
from schema.objects import ObjectHead
from schema.plan import WRITE_ACTIONS, Entry
from schema.storage_classes import readable

ARCHIVED_STAGE = "archived"
"""Id of the plan's stage whose objects must be restored first."""


def unreadable(jobs: Sequence[Job], *, look_again_seconds: float) -> list[Job]:
    """Those of *jobs* whose source cannot be read yet; each has its restore requested, and a new request is reported.

    *look_again_seconds*: when the objects are looked at again, for the report. Raises StoreErrors.
    """
    return [
        job
        for job in jobs
        if job.entry.action in WRITE_ACTIONS and not job.tools.again(partial(_ready, job, look_again_seconds))
    ]


def _ready(job: Job, look_again_seconds: float) -> bool:
    source, entry = job.route.source, job.entry
    head = source.head(entry.key, version_id=entry.version_id)
    if readable(head):
        return True
    if "x-amz-restore" in head.headers:
        return False
    _request(job.route, entry, head)
    text = f"asked back from the archive; looked at again every {look_again_seconds:.0f} s"
    job.report("RestoreRequested", text, final=False)
    # Some endpoints restore at once.
    return readable(source.head(entry.key, version_id=entry.version_id))


def _request(route: Route, entry: Entry, head: ObjectHead) -> None:
    """RestoreObject; a restore already in progress is fine."""
    query = [("restore", "")] + ([("versionId", entry.version_id)] if entry.version_id else [])
    tiered = bool(head.headers.get("x-amz-archive-status"))
    document = restore_document(route.plan.policy.restore_days, route.plan.policy.restore_tier, tiered=tiered)
    try:
        route.source.subresource("POST", entry.key, query, body=document)
    except ObjectArchived as error:
        if error.code != "RestoreAlreadyInProgress":
            raise


def restore_document(days: int, tier: str, *, tiered: bool) -> bytes:
    """The body of a RestoreObject. *tiered*: Intelligent-Tiering restores an object for good and takes no Days."""
    kept = "" if tiered else f"<Days>{days}</Days>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{kept}<GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
    ).encode()
