"""No question of a running ledger grows with the work that is finished: counted in pages, which no load disturbs."""

from __future__ import annotations

import psycopg2
import pytest
from support.postgres import PostgresServer

from bench.ledger_scale import Asked, Size, answers, filled
from executor.ledger.ledger import Ledger

SPARE = 24
"""Pages: an index one level deeper, a table of batches one page longer, another plan for a tiny table."""


def asked_of(server: PostgresServer, size: Size) -> list[Asked]:
    """What every question costs in a run of that *size*, all but done."""
    name = server.clone()
    ledger = Ledger(server.url_of(name))
    connection = psycopg2.connect(server.url_of(name).replace("+psycopg2", ""))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            run = filled(ledger, cursor, size)
        assert ledger.reports.progress(run.run_id).ready == 20
        return answers(ledger, run)
    finally:
        connection.close()
        ledger.close()
        server.drop(name)


def grown(small: list[Asked], large: list[Asked]) -> dict[str, tuple[int, int]]:
    """The questions that touched more at the larger size."""
    return {a.name: (a.pages, b.pages) for a, b in zip(small, large, strict=True) if b.pages > a.pages + SPARE}


def test_no_question_grows_with_finished_chunks(postgres_server: PostgresServer) -> None:
    small, large = (asked_of(postgres_server, Size(n, per_chunk=4, per_batch=500)) for n in (500, 8_000))
    assert grown(small, large) == {}


@pytest.mark.soak
def test_no_question_grows_from_a_hundred_thousand_objects_to_a_million(postgres_server: PostgresServer) -> None:
    small, large = (asked_of(postgres_server, Size(n)) for n in (100_000, 1_000_000))
    assert grown(small, large) == {}
