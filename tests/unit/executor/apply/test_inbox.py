"""Does every item arrive once and in order, and does a full inbox hold its senders back?"""

from __future__ import annotations

import threading

from support.clock import SOON

from executor.apply.inbox import Inbox


def test_items_come_in_order_and_all_at_once() -> None:
    inbox: Inbox[int] = Inbox(10, 0.0)
    for number in range(5):
        assert inbox.put(number, SOON)
    assert inbox.take(SOON, 3) == [0, 1, 2]
    assert inbox.take(SOON, 9) == [3, 4]
    assert inbox.take(0.0, 9) == []


def test_a_full_inbox_refuses_in_time_and_takes_again_once_emptied() -> None:
    inbox: Inbox[int] = Inbox(2, 0.0)
    assert inbox.put(1, 0.0)
    assert inbox.put(2, 0.0)
    assert not inbox.put(3, 0.0)
    assert inbox.take(0.0, 9) == [1, 2]
    assert inbox.put(3, 0.0)


def test_nothing_is_lost_between_many_senders_and_one_taker() -> None:
    inbox: Inbox[tuple[int, int]] = Inbox(16, 0.0)

    def send(sender: int) -> None:
        for number in range(500):
            assert inbox.put((sender, number), SOON)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for sender in senders:
        sender.start()
    taken: list[tuple[int, int]] = []
    while len(taken) < 2000:
        got = inbox.take(SOON, 99)
        assert got
        assert len(got) <= 16 + 4
        taken += got
    for sender in senders:
        sender.join()
    for name in range(4):
        assert [number for sender, number in taken if sender == name] == list(range(500))
