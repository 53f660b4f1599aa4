"""Where the listings of a plan keep their checkpoints, and when the next plan may resume from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from schema.declaration import Side
from schema.ends import endpoint_of
from schema.errors import ListingRefused, StoreError
from schema.formats.quantities import duration_text
from storage.listing.checkpoint import MOST_AGE, ListingCheckpoint, goes_on
from storage.listing.source import BucketSource

LISTINGS_FOLDER = "listings"
"""In the state folder."""


class CheckpointPlace(NamedTuple):
    """Where the checkpoints of a declaration are kept."""

    folder: Path
    declaration_sha256: str
    fresh: bool
    """True: resume nothing."""


@dataclass(slots=True)
class ListingCheckpoints:
    """The checkpoints of one plan's listings."""

    place: CheckpointPlace
    now: float
    """Seconds since the epoch."""
    resumed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By origin: how many objects an interrupted plan listed, and how long ago; for the plan's provenance."""
    _opened: list[ListingCheckpoint] = field(default_factory=list)

    def of(self, side: Side, bucket: BucketSource, *, section: str) -> ListingCheckpoint:
        """The checkpoint of *bucket*, which is *side* of *section*; no other listing or declaration shares it.

        Raises StoreErrors.
        """
        identity = {
            "declaration": self.place.declaration_sha256,
            "section": section,
            "origin": bucket.origin,
            "endpoint": endpoint_of(side),
            "prefix": bucket.prefix,
            "believe": bucket.believe.value,
            "kind": bucket.kind.value,
        }
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        checkpoint = ListingCheckpoint(self.place.folder / f"{name}.listing", identity, now=self.now)
        self._opened.append(checkpoint)
        if checkpoint.earlier is not None and (self.place.fresh or not goes_on(bucket, checkpoint.earlier)):
            checkpoint.drop()
            checkpoint = ListingCheckpoint(self.place.folder / f"{name}.listing", identity, now=self.now)
            self._opened.append(checkpoint)
        if (earlier := checkpoint.earlier) is not None:
            age = duration_text(self.now - earlier.began)
            self.resumed[f"{section}: {bucket.origin}"] = {"objects": earlier.objects, "age": age}
        return checkpoint

    def forget_old(self) -> None:
        """Remove checkpoints that are too old to resume."""
        with suppress(OSError):
            for path in self.place.folder.glob("*.listing"):
                if self.now - path.stat().st_mtime > MOST_AGE:
                    path.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove the checkpoints of this plan."""
        for checkpoint in self._opened:
            checkpoint.drop()

    def close(self) -> None:
        """Keep what is left for the next plan."""
        for checkpoint in self._opened:
            checkpoint.close()


@contextmanager
def listing_checkpoints(place: CheckpointPlace, now: float) -> Iterator[ListingCheckpoints]:
    """Checkpoints for one plan; the next plan finds them only if this one was interrupted.

    That is: killed, stopped by a signal, or failed by an endpoint. A plan that was made, or refused because of what was
    listed, leaves none, so that the next one sees what has changed since.
    """
    checkpoints = ListingCheckpoints(place, now)
    checkpoints.forget_old()
    try:
        yield checkpoints
    except (StoreError, KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, ListingRefused):
            checkpoints.drop()
        raise
    except BaseException:
        checkpoints.drop()
        raise
    else:
        checkpoints.drop()
    finally:
        checkpoints.close()
