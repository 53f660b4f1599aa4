"""Orphan uploads: only those that our ledger names are aborted."""

from __future__ import annotations

from collections.abc import Mapping

from executor.ledger.ledger import Ledger
from schema.plan import Plan
from storage.port import ObjectStore


def sweep_uploads(
    plan: Plan, ledger: Ledger, run_id: int, destinations: Mapping[str, ObjectStore]
) -> list[tuple[str, str]]:
    """Abort every upload that the ledger has open for this run; (key, upload id) of each. Raises StoreErrors."""
    swept = []
    for upload in list(ledger.open_uploads(run_id)):
        section = plan.batches[upload.batch_no].section
        destinations[section].abort_upload(upload.key, upload.upload_id)
        ledger.close_upload(run_id, upload.batch_no, upload.ord)
        swept.append((upload.key, upload.upload_id))
    return swept
