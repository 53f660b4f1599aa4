"""The figures of a run's report beside SQL's and the servers' own: a table, and whether they agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from support.fault_relay import Exchange
from support.request_classes import requests_in
from support.servers import S3Server

from bench.workloads import BUCKET
from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.flow.samples import SIDES

STARTS = 2
"""Applies of the story: the process that starts the workers asks each side for one LIST, which is in no sample."""
LOST_SECONDS = 15.0
"""A killed process takes with it what it counted since its last sample: ten seconds, and five when it is late."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the two ends were asked while the run was applied."""

    exchanges: Mapping[WhichSide, Sequence[Exchange]]
    killed_at: float
    resumed_at: float
    """time.monotonic(), as in the exchanges."""

    def unsampled(self, side: WhichSide) -> list[Exchange]:
        """Of *side*'s: what no sample need hold."""
        return [e for e in self.exchanges[side] if self.killed_at - LOST_SECONDS < e.started < self.resumed_at]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure from three places."""

    name: str
    report: int
    sql: int
    server: int | None
    """None: no server counts it."""
    missing: int = 0
    """So many less than the server's may be in the report."""

    @property
    def agrees(self) -> bool:
        """The report has SQL's figure, and the server's but for what a kill took."""
        return self.report == self.sql and (
            self.server is None or self.server - self.missing <= self.report <= self.server
        )

    def __str__(self) -> str:
        server = "" if self.server is None else f"{self.server:,}"
        taken = f" (up to {self.missing:,} need not be in a sample)" if self.missing else ""
        verdict = "equal" if self.agrees else "DIFFERS"
        return f"{self.name:32} {self.report:>14,} {self.sql:>14,} {server:>14}  {verdict}{taken}"


HEADINGS = f"{'figure':32} {'report':>14} {'SQL':>14} {'server':>14}"


def compared(report: dict[str, Any], ledger_url: str, destination: S3Server, seen: Seen) -> list[Row]:
    """Every figure that more than one place knows."""
    connection = psycopg2.connect(ledger_url)
    try:
        with connection.cursor() as cursor:
            return [*_objects(report, cursor, destination, seen), *_flow(report, cursor, seen)]
    finally:
        connection.close()


def _objects(report: dict[str, Any], cursor: Any, destination: S3Server, seen: Seen) -> Iterator[Row]:
    pages = destination.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    sizes = [entry["Size"] for page in pages for entry in page.get("Contents", ())]
    terms, actual = report["source_keys"]["terms"], {row["name"]: row["actual"] for row in report["comparisons"]}
    cursor.execute("SELECT outcome, count(*), sum(size) FROM ledger.completion GROUP BY 1")
    by_outcome = {outcome: (count, int(size)) for outcome, count, size in cursor.fetchall()}
    arrived = [by_outcome.get(outcome, (0, 0)) for outcome in (1, 2)]
    yield Row(
        "objects at the destination",
        terms["copied"] + terms["already_there"],
        sum(count for count, _size in arrived),
        len(sizes),
    )
    yield Row("bytes at the destination", actual["bytes moved"], sum(size for _count, size in arrived), sum(sizes))
    deleted = {e.key for e in seen.exchanges[WhichSide.DESTINATION] if e.operation == "delete" and e.status == 204}
    yield Row("deleted", report["deletes"]["terms"]["deleted"], by_outcome.get(5, (0, 0))[0], len(deleted))
    cursor.execute("SELECT sum(objects) FROM ledger.batch")
    yield Row("moved, of the plan", actual["objects moved"], int(cursor.fetchone()[0]), None)


def _flow(report: dict[str, Any], cursor: Any, seen: Seen) -> Iterator[Row]:
    flow = report["flow"]
    columns = "objects", "bytes", "failed", "destination_throttled"
    cursor.execute(f"SELECT {', '.join(f'sum({name})' for name in columns)} FROM ledger.flow_sample")  # noqa: S608
    sums = dict(zip(columns, map(int, cursor.fetchone()), strict=True))
    for name in ("objects", "bytes", "failed"):
        yield Row(f"samples: {name}", flow[name], sums[name], None)
        yield Row(f"curve: {name}", sum(point[name] for point in report["history"]), sums[name], None)
    counted, taken = seen.exchanges[WhichSide.DESTINATION], seen.unsampled(WhichSide.DESTINATION)
    refused, lost = (sum(e.status == 503 for e in exchanges) for exchanges in (counted, taken))
    yield Row("503s", flow["destination"]["throttled"], sums["destination_throttled"], refused, lost)
    for side in SIDES:
        yield from _requests(flow[side.value]["requests"], cursor, seen, side)


def _requests(told: Mapping[str, int], cursor: Any, seen: Seen, side: WhichSide) -> Iterator[Row]:
    asked, unsampled = requests_in(seen.exchanges[side]), requests_in(seen.unsampled(side))
    for kind in RequestClass:
        column = f"{side.value}_requests[{int(kind)}]"
        cursor.execute(f"SELECT sum({column}) FROM ledger.flow_sample")  # noqa: S608
        name = f"{side.value}: {kind.name} requests"
        missing = unsampled.get(kind, 0) + (STARTS if kind is RequestClass.LIST else 0)
        stored = int(cursor.fetchone()[0] or 0)
        yield Row(name, told.get(kind.name.lower(), 0), stored, asked.get(kind, 0), missing)
