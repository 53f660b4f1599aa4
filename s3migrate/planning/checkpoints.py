"""Where the listings of a plan leave their checkpoints, and when the next plan may go on with them."""

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
from storage.listing.checkpoint import MOST_AGE, ListingCheckpoint
from storage.listing.source import BucketSource

LISTINGS_FOLDER = "listings"
"""In the state folder."""


class CheckpointPlace(NamedTuple):
    """Where checkpoints lie, and of which declaration."""

    folder: Path
    declaration_sha256: str
    fresh: bool
    """True: nothing of an interrupted plan counts."""


@dataclass(slots=True)
class ListingCheckpoints:
    """The checkpoints of one plan's listings."""

    place: CheckpointPlace
    now: float
    """Seconds since the epoch."""
    resumed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By origin: how many objects an interrupted plan has listed, and how long ago; for the plan's provenance."""
    _opened: list[ListingCheckpoint] = field(default_factory=list)

    def of(self, side: Side, bucket: BucketSource, *, section: str) -> ListingCheckpoint:
        """The checkpoint of *bucket*, which is *side* of *section*: of no other listing, and no other declaration."""
        identity = {
            "declaration": self.place.declaration_sha256,
            "section": section,
            "origin": bucket.origin,
            "endpoint": endpoint_of(side),
            "prefix": bucket.prefix,
            "believe": bucket.believe.value,
        }
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        checkpoint = ListingCheckpoint(self.place.folder / f"{name}.listing", identity, now=self.now)
        if self.place.fresh and checkpoint.earlier is not None:
            checkpoint.drop()
            checkpoint = ListingCheckpoint(self.place.folder / f"{name}.listing", identity, now=self.now)
        self._opened.append(checkpoint)
        if (earlier := checkpoint.earlier) is not None:
            age = duration_text(self.now - earlier.began)
            self.resumed[f"{section}: {bucket.origin}"] = {"objects": earlier.objects, "age": age}
        return checkpoint

    def forget_old(self) -> None:
        """Remove what no plan would go on with any more."""
        with suppress(OSError):
            for path in self.place.folder.glob("*.listing"):
                if self.now - path.stat().st_mtime > MOST_AGE:
                    path.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove all of them."""
        for checkpoint in self._opened:
            checkpoint.drop()

    def close(self) -> None:
        """Leave them to the next plan."""
        for checkpoint in self._opened:
            checkpoint.close()


@contextmanager
def listing_checkpoints(place: CheckpointPlace, now: float) -> Iterator[ListingCheckpoints]:
    """Checkpoints for one plan, which the next one finds only where this one was interrupted.

    That is: killed, stopped by a signal, or left without an answer. A plan that was made, or refused for what was
    listed, leaves nothing: the next one is to see what has changed since.
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
