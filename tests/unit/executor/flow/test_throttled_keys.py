"""What tells a key that is refused for its own sake from an endpoint that is asked too much, in virtual time."""

from __future__ import annotations

import random

import pytest
from support.clock import Clock

from executor.flow.endpoint import EndpointGovernor
from executor.flow.governor import Governor
from executor.flow.throttled_keys import HOPELESS_SECONDS, Judgement, ThrottledKeys
from schema.errors import ServerFault, StoreError, Throttled
from schema.process_view import WaitingKey
from storage.port import RequestSample


class Endpoint:
    """Answers one request each hundredth of a second; every fifth is a retry of some key that waits."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.keys = ThrottledKeys()
        self.now = 0.0
        self.answered = 0
        self.waiting: list[str] = []
        self.own: set[str] = set()
        self.hopeless: dict[str, float] = {}
        self._fresh = 0

    def ask(self, refuses: float, poison: int = 0) -> None:
        """One request; each *poison*-th new key is refused for ever (0: none), others with this chance."""
        self.now += 0.01
        if self.waiting and self.random.random() < 0.2:
            key = self.waiting.pop(self.random.randrange(len(self.waiting)))
        else:
            self._fresh += 1
            key = f"{'bad' if poison and self._fresh % poison == 0 else 'good'}/{self._fresh}"
        if not key.startswith("bad") and self.random.random() >= refuses:
            self.answered += 1
            self.keys.served(key)
            return
        judged = self.keys.throttled(key, "SlowDown", answered=self.answered, now=self.now)
        if judged is not Judgement.PACE:
            self.own.add(key)
        if self.keys.hopeless(key, answered=self.answered, now=self.now):
            self.hopeless[key] = self.now
            self.keys.given_up(key)
        else:
            self.waiting.append(key)


@pytest.mark.parametrize("refuses", [0.0, 0.05, 0.3, 0.6])
def test_an_endpoint_that_refuses_at_random_refuses_no_key_for_its_own_sake(refuses: float) -> None:
    endpoint = Endpoint(1)
    for _ in range(20_000):
        endpoint.ask(refuses)

    assert endpoint.hopeless == {}
    assert len(endpoint.own) <= 0.01 * 20_000


@pytest.mark.parametrize("refuses", [0.0, 0.05])
def test_a_poisoned_key_is_found_and_given_up_and_no_other_is(refuses: float) -> None:
    endpoint = Endpoint(2)
    for _ in range(20_000):
        endpoint.ask(refuses, poison=200)

    assert endpoint.hopeless
    assert all(key.startswith("bad") for key in endpoint.hopeless)
    left = [key for key in endpoint.waiting if key.startswith("bad")]
    assert len(left) < 30, "those of the last minute"


def test_no_key_is_given_up_before_its_time_nor_while_nobody_else_is_served() -> None:
    keys = ThrottledKeys()
    for times in range(100):
        keys.throttled("k", "SlowDown", answered=1000 * times, now=times * 0.1)
    assert keys.hopeless("k", answered=200_000, now=HOPELESS_SECONDS - 0.1) == ""
    assert "100 times" in keys.hopeless("k", answered=200_000, now=HOPELESS_SECONDS)

    alone = ThrottledKeys()
    for times in range(100):
        alone.throttled("k", "SlowDown", answered=5, now=times * 10.0)
    assert alone.hopeless("k", answered=100_000, now=10_000.0) == "", "an outage that has just ended"


def test_a_key_that_is_served_in_the_end_begins_anew() -> None:
    keys = ThrottledKeys()
    for times in range(8):
        keys.throttled("k", "SlowDown", answered=100 * times, now=times * 10.0)
    assert keys.stuck == 1
    keys.served("k")

    assert (keys.stuck, keys.waiting(80.0), keys.hopeless("k", answered=900, now=80.0)) == (0, (), "")


def request(governor: EndpointGovernor, error: StoreError | None = None) -> None:
    governor.before("GetObject", 0)
    governor.after(RequestSample("GetObject", 0.01, 0.005, 0, error))


def run(clock: Clock, endpoint: EndpointGovernor, poisoned: str | None, seconds: int) -> None:
    """Forty requests a second are answered, and one is refused each second: of *poisoned*, or each time of another."""
    for second in range(seconds):
        request(endpoint, Throttled("slow down", key=poisoned or f"key/{second}", status=503, code="SlowDown"))
        for _ in range(40):
            clock.now += 1 / 40
            request(endpoint)
        endpoint.close_window(1.0, clock.now)


@pytest.mark.parametrize(("poisoned", "paced"), [("poison", False), (None, True)])
def test_refusals_of_one_key_do_not_lower_the_pace_those_of_many_do(poisoned: str | None, paced: bool) -> None:
    clock = Clock()
    endpoint = EndpointGovernor("h:443", clock=clock, wait=clock.wait)
    governor = Governor({"source": endpoint}, 64, workers=4)
    run(clock, endpoint, poisoned, 10)

    seen = endpoint.snapshot(clock.now)
    assert (seen.pace is not None) == paced
    assert [key.key for key in seen.waiting_keys] == ([] if paced else ["poison"])
    assert governor.target() == (4 if paced else 5), "the worker that waits with it is replaced"


def test_what_is_given_up_says_why_and_is_forgotten() -> None:
    clock = Clock()
    endpoint = EndpointGovernor("h:443", clock=clock, wait=clock.wait)
    run(clock, endpoint, "poison", 40)

    (shown,) = endpoint.snapshot(clock.now).waiting_keys
    assert shown == WaitingKey("poison", "SlowDown", 40, shown.seconds)
    assert "while 1,600 other requests were answered" in endpoint.hopeless("poison")
    assert endpoint.hopeless("poison") == ""
    assert endpoint.snapshot(clock.now).waiting_keys == ()


def test_where_every_object_in_hand_is_refused_the_endpoint_is_asked() -> None:
    clock = Clock()
    endpoint = EndpointGovernor("h:443", clock=clock, wait=clock.wait)
    request(endpoint)
    clock.now += 60
    assert not endpoint.to_be_asked(clock.now), "nothing is refused"
    for _ in range(60):
        request(endpoint, Throttled("slow down", key="poison", status=503))
        endpoint.to_be_asked(clock.now)  # as each tick looks
        clock.now += 2.5
        assert endpoint.to_be_asked(clock.now)
        with endpoint.asking():
            request(endpoint)
        clock.now += 0.2
    assert endpoint.hopeless("poison")


def test_an_endpoint_that_refuses_our_question_too_is_waited_for() -> None:
    clock = Clock()
    endpoint = EndpointGovernor("h:443", clock=clock, wait=clock.wait)
    for _ in range(600):
        request(endpoint, Throttled("slow down", key="k", status=503))
        with endpoint.asking():
            request(endpoint, Throttled("slow down", key="question", status=503))
        clock.now += 1
        endpoint.close_window(1.0, clock.now)
    assert endpoint.hopeless("k") == ""
    assert endpoint.snapshot(clock.now).pace is not None


def test_a_retry_of_an_object_that_fails_while_others_are_served_is_not_paid_for() -> None:
    clock = Clock()
    endpoint = EndpointGovernor("h:443", clock=clock, wait=clock.wait)
    request(endpoint, ServerFault("500", key="poison"))
    for _ in range(10):
        request(endpoint)

    assert all(endpoint.may_retry(clock.now, "poison") for _ in range(1000))
    assert sum(endpoint.may_retry(clock.now, "another") for _ in range(1000)) == 100
