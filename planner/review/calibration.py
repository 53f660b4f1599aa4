"""How long requests took while the ends of a plan were probed, from which its duration is estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Calibration(NamedTuple):
    """Milliseconds of one small request of a pair, the median of those the probe sent. None: none was sent."""

    read_ms: int | None = None
    """GET or HEAD at the source."""
    write_ms: int | None = None
    """PUT at the destination."""

    @property
    def known(self) -> bool:
        """Both were measured."""
        return self.read_ms is not None and self.write_ms is not None


UNMEASURED = Calibration()


def measured_document(measured: Mapping[str, Calibration]) -> dict[str, dict[str, int]]:
    """*measured*, by section, as the plan's assumptions hold it: only what is known."""
    return {
        name: {"read_ms": one.read_ms, "write_ms": one.write_ms}
        for name, one in measured.items()
        if one.read_ms is not None and one.write_ms is not None
    }


def measured_in(estimate: Mapping[str, Any]) -> dict[str, Calibration]:
    """The measurements behind an earlier plan's estimate. {}: constants only."""
    found = estimate.get("assumptions", {}).get("measured", {})
    return {name: Calibration(int(one["read_ms"]), int(one["write_ms"])) for name, one in found.items()}
