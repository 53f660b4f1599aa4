"""What apply shows on a terminal: a screen, redrawn at each progress event, and lines above it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from executor.events import ObjectTrouble
from executor.ledger.ledger import Ledger
from executor.ledger.values import Progress
from s3migrate.console import output
from s3migrate.views.run_view import HumanRun, Rate
from s3migrate.watching.screen import TROUBLES_SHOWN, screen
from s3migrate.watching.snapshot import RunSnapshot, snapshot_of
from schema.errors import LedgerUnavailable
from schema.formats.escape import one_line
from schema.process_view import ProcessView

READ_SECONDS = 3.0
"""Between two readings of anything more than the totals."""


class LiveRun(HumanRun):
    """For people at a terminal, on stderr. It shows what the ledger knows, including other processes."""

    def __init__(
        self, ledger: Ledger, plan_id: str, *, many: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(live=True, many=many)
        self._ledger = ledger
        self._plan_id = plan_id
        self._clock = clock
        self._read_at = -READ_SECONDS
        self._snapshot: RunSnapshot | None = None
        self._screen_rate = Rate()
        self._troubles: deque[str] = deque(maxlen=TROUBLES_SHOWN)

    def object_trouble(self, trouble: ObjectTrouble) -> None:
        """As HumanRun; the screen shows the latest ones, including those that will be tried again."""
        super().object_trouble(trouble)
        ended = "" if trouble.final else f", attempt {trouble.attempt}, tried again"
        self._troubles.append(f"{one_line(trouble.key)}: {trouble.reason}{ended}: {one_line(trouble.message)}")

    def progress(self, progress: Progress, flow: ProcessView) -> None:
        """The screen, or HumanRun's line until the ledger has answered once."""
        snapshot = self._look(progress)
        if snapshot is None:
            super().progress(progress, flow)
            return
        rows = screen(snapshot, self._screen_rate, list(self._troubles), columns=output.columns_of_stderr() - 1)
        output.progress("\n".join(rows), err=True)

    def _look(self, progress: Progress) -> RunSnapshot | None:
        """The last reading, with the current totals."""
        now = self._clock()
        if now - self._read_at >= READ_SECONDS:
            try:
                run = self._ledger.runs.find(self._plan_id)
                self._snapshot = snapshot_of(self._ledger, run) if run is not None else None
                self._read_at = now
            except LedgerUnavailable:
                pass  # keep the last reading
        return None if self._snapshot is None else replace(self._snapshot, progress=progress)


class QuietRun(HumanRun):
    """Shows no progress, only problems, waits and stops."""

    def __init__(self, *, many: bool) -> None:
        super().__init__(live=False, many=many)

    def run_accepted(self, run_id: int, resumed: bool, progress: Progress) -> None:
        """Shows nothing."""

    def progress(self, progress: Progress, flow: ProcessView) -> None:
        """Shows nothing."""
