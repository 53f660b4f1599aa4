"""When a store that reads moves to another endpoint of its bucket."""

from __future__ import annotations

from schema.declaration import Side
from schema.errors import ConnectionFailed, ObjectMissing, StoreError
from storage.failover import FAILURES_IN_A_ROW, Failover
from storage.port import RequestSample

AWAY = ConnectionFailed("away")


class Moves:
    """Remembers where it was moved."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def move_to(self, endpoint_url: str) -> None:
        self.urls.append(endpoint_url)


def told(
    errors: list[StoreError | None], *, ways: tuple[str, ...] = ("a", "b", "c"), seconds: float = 0.5
) -> list[str]:
    """Where a store goes whose requests end so, one each second."""
    times = iter(range(len(errors)))
    watch = Failover(Side("x", endpoint_url="a", endpoint_candidates=ways), print, clock=lambda: float(next(times)))
    moves = watch.store = Moves()
    for error in errors:
        watch.after(RequestSample("HeadObject", seconds, 0.0, 0, error))
    return moves.urls


def test_it_moves_after_failures_in_a_row_and_comes_round_again() -> None:
    assert told([AWAY] * FAILURES_IN_A_ROW) == ["b"]
    assert told([AWAY] * 3 * FAILURES_IN_A_ROW) == ["b", "c", "a"]


def test_an_answer_of_any_kind_shows_that_the_endpoint_is_there() -> None:
    assert told([AWAY, AWAY, None] * 4) == []
    assert told([AWAY, AWAY, ObjectMissing("gone")] * 4) == []


def test_requests_that_were_under_way_at_the_move_do_not_count() -> None:
    assert told([AWAY] * 2 * FAILURES_IN_A_ROW, seconds=3.5) == ["b"]


def test_the_only_endpoint_is_kept() -> None:
    assert told([AWAY] * 9, ways=()) == told([AWAY] * 9, ways=("a",)) == []
