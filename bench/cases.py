"""What `make bench` measures: each workload at each place, by whom."""

from __future__ import annotations

from typing import NamedTuple

from bench.beds import Kind, Place
from bench.contestants import (
    BARE_WIRE,
    BOTO3,
    OURS,
    RCLONE_BEST,
    RCLONE_DEFAULT,
    RCLONE_FAR,
    S5CMD,
    Contestant,
)
from bench.workloads import HUNDREDS, LARGE, MEDIUM, MIX, ONE_KB, ONE_MB, SMALL, Workload

FAR_MS = 50


class Case(NamedTuple):
    """One row group of the table."""

    workload: Workload
    place: Place
    contestants: tuple[Contestant, ...]
    rival: str
    """Whose wall time and CPU the others are divided by."""

    @property
    def name(self) -> str:
        """As the table and --case call it."""
        return f"{self.workload.name}; {self.place}"


def _near(workload: Workload, kind: Kind, *, https: bool, checksums: bool = False, wire: bool = False) -> Case:
    extra: tuple[Contestant, ...] = (BARE_WIRE,) if wire else ()
    place = Place(kind, https, checksums=checksums)
    return Case(workload, place, (OURS, RCLONE_BEST, *extra), RCLONE_BEST.name)


def _far(workload: Workload, *, https: bool) -> Case:
    place = Place(Kind.LEAN, https, FAR_MS)
    return Case(workload, place, (OURS, RCLONE_FAR), RCLONE_FAR.name)


def every_case() -> list[Case]:
    """The whole bench, the important rows first."""
    cases: list[Case] = []
    for https in (True, False):
        cases += [_near(w, Kind.LEAN, https=https, wire=True) for w in (SMALL, ONE_KB, ONE_MB, MEDIUM)]
        # rclone's upload of 1 GB in 200 parts is refused by the lean server: 1 GB and the mix go to rclone's own.
        cases += [_near(HUNDREDS, Kind.LEAN, https=https)]
        cases += [_near(w, Kind.LEAN, https=https, checksums=True) for w in (SMALL, HUNDREDS)]
        cases += [_far(w.scaled(0.5), https=https) for w in (SMALL, ONE_MB)]
    for https in (True, False):
        cases += [_near(w, Kind.RCLONE, https=https) for w in (SMALL, MEDIUM, LARGE, MIX)]
    everybody = (OURS, RCLONE_BEST, RCLONE_DEFAULT, BOTO3)
    cases.append(Case(SMALL.scaled(0.2), Place(Kind.RCLONE, https=False), everybody, RCLONE_BEST.name))
    inside = (OURS, RCLONE_BEST, S5CMD)
    cases.append(Case(SMALL.scaled(0.25), Place(Kind.INSIDE, https=False), inside, RCLONE_BEST.name))
    return cases


def quick_cases() -> list[Case]:
    """What a reviewer runs: under three minutes with two rounds."""
    return [
        _near(SMALL.scaled(0.12), Kind.LEAN, https=True, wire=True),
        _near(SMALL.scaled(0.12), Kind.LEAN, https=False),
        _near(ONE_MB.scaled(0.2), Kind.LEAN, https=True),
        _near(HUNDREDS.scaled(0.34), Kind.LEAN, https=True, checksums=True),
        _far(SMALL.scaled(0.05), https=True),
        _near(SMALL.scaled(0.03), Kind.RCLONE, https=True),
    ]
