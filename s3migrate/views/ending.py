"""The ending of a run that did not copy everything: what is missing, what was never tried, what to do next."""

from __future__ import annotations

from executor.ledger.values import Blamed, FailedObject, Progress
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, counted_text

NAMED = 3
"""Failed objects named as the reason why others were never tried."""


def ending_text(progress: Progress, blamed: Blamed) -> str:
    """What to know and do. *blamed*: the failures that kept objects from being tried, if any were not."""
    run = progress.run_id
    words = (
        f"run {run} finished with {count_text(progress.failed)} failed, {count_text(progress.drifted)} drifted "
        f"and {count_text(progress.verify_failed)} not proven"
    )
    if progress.untried:
        words += "; " + _untried(progress, blamed)
    words += f"; `s3migrate status {run}` lists them"
    if progress.parked:
        words += f", `s3migrate retry {run}` tries the failed ones again"
    if progress.drifted:
        words += "; what drifted changed since the plan and was left alone: plan again to move it"
    return words


def _untried(progress: Progress, blamed: Blamed) -> str:
    """Why the objects of later stages were never tried."""
    first = blamed.first[:NAMED]
    named = "; ".join(f"{named_text(failed)}: {one_line(failed.message)}" for failed in first)
    more = f"; and {count_text(blamed.objects - len(first))} more" if blamed.objects > len(first) else ""
    words = (
        f"{counted_text(progress.untried, 'object')} never tried, since objects of an earlier stage failed in a way "
        f"that would hit the others as well ({named}{more})"
    )
    if blamed.refused:
        return f"{words}. Grant what was refused, then retry"
    if blamed.differs:
        return f"{words}. Declare what need not be kept (preserve) or repair the destination, and plan again"
    return (
        f"{words}. Declare what need not be kept (preserve, accept_loss), exclude such objects (filters), or repair "
        "the endpoint; then plan again, or retry"
    )


def named_text(failed: FailedObject) -> str:
    """The object's key, or else its place in the plan, for a line of text."""
    return one_line(failed.key) if failed.key else f"{failed.batch_id}:{failed.ord}"
