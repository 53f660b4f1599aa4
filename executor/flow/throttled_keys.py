"""Keys that an endpoint keeps throttling while it serves others: then the key is the cause, not the pace. Pure.

An overloaded endpoint refuses any request. One object that it cannot read, or a shard that it has lost, is refused each
time, whatever the pace. Probability tells them apart: a key refused n times in a row, while only the share p of other
keys is refused on their first request, is itself the cause if p ** (n - 1) is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from schema.process_view import WaitingKey

OTHERS = 10
"""Answers to other requests since the key was first refused, before anything is said of it."""
LEAST_SHARE = 0.05
"""Of first requests refused: what is assumed at least."""
OWN_TIMES, OWN_CHANCE = 3, 0.01
"""Refused this often, and this unlikely by chance: the key no longer lowers the pace."""
OWN_KEYS = 3
"""Once this many keys, and half of all refused ones, are themselves the cause, a new one is not counted at once."""
HOPELESS_TIMES, HOPELESS_CHANCE = 8, 1e-6
HOPELESS_SECONDS = 30.0
"""The same, for giving the key up: its chunk is parked, and `s3migrate retry` tries it again."""
SHOWN_TIMES = 3
SHOWN = 10
REMEMBERED = 10_000


@dataclass(slots=True)
class _Refused:
    code: str
    at: float
    answered: int
    """Answers to others when it was first refused."""
    keys: int
    """Keys that had been refused by then."""
    served: int
    """Of these, keys served by then."""
    heard: int
    """Answers to others when it was last refused."""
    times: int = 1
    """Refusals between any two of which others were answered."""
    own: bool = False
    """The key itself is refused."""


class Judgement(Enum):
    """What one refusal says."""

    PACE = auto()
    """The endpoint is overloaded."""
    KEY = auto()
    """The refusal says nothing about the pace."""
    KEY_AFTER_ALL = auto()
    """The same; nor did the key's earlier refusals, which were counted against the pace."""


class ThrottledKeys:
    """Not safe for threads: the caller holds a lock. *answered*: requests the endpoint has answered in all."""

    def __init__(self) -> None:
        self._refused: dict[str, _Refused] = {}
        self._keys = 0
        self._served = 0
        self._own = 0
        """Keys found to be refused individually."""

    @property
    def stuck(self) -> int:
        """Keys in flight that are refused individually."""
        return sum([found.own for found in self._refused.values()])

    def __bool__(self) -> bool:
        return bool(self._refused)

    def throttled(self, key: str, code: str, *, answered: int, now: float) -> Judgement:
        """Note a refusal of *key*."""
        found = self._refused.get(key)
        if found is None:
            self._keys += 1
            if len(self._refused) < REMEMBERED:
                self._refused[key] = _Refused(code, now, answered, self._keys, self._served, answered)
            return Judgement.KEY if self._mostly_own() else Judgement.PACE
        if answered > found.heard:
            found.times += 1
            found.heard = answered
        if found.times < OWN_TIMES:
            return Judgement.KEY if self._mostly_own() else Judgement.PACE
        if found.own:
            return Judgement.KEY
        if self._chance(found, answered) > OWN_CHANCE:
            return Judgement.PACE
        found.own = True
        self._own += 1
        return Judgement.KEY_AFTER_ALL

    def _mostly_own(self) -> bool:
        return self._own >= max(OWN_KEYS, self._served)

    def served(self, key: str) -> None:
        """A request for *key* was answered after all."""
        if self._refused.pop(key, None) is not None:
            self._served += 1

    def given_up(self, key: str) -> None:
        """*key* will not be asked for again."""
        self._refused.pop(key, None)

    def hopeless(self, key: str, *, answered: int, now: float) -> str:
        """Why *key* should be given up; '': it should not."""
        found = self._refused.get(key)
        if found is None or found.times < HOPELESS_TIMES or now - found.at < HOPELESS_SECONDS:
            return ""
        if self._chance(found, answered) > HOPELESS_CHANCE:
            return ""
        others = answered - found.answered
        return f"refused {found.times} times in {now - found.at:.0f} s, while {others:,} other requests were answered"

    def waiting(self, now: float) -> tuple[WaitingKey, ...]:
        """The keys refused most often; at most SHOWN."""
        often = [(key, found) for key, found in self._refused.items() if found.times >= SHOWN_TIMES]
        often.sort(key=lambda pair: -pair[1].times)
        return tuple(WaitingKey(key, found.code, found.times, round(now - found.at, 1)) for key, found in often[:SHOWN])

    def _chance(self, found: _Refused, answered: int) -> float:
        """The probability that an endpoint refusing at random refused it this often in a row; 1.0 where unknown."""
        others = answered - found.answered
        if others < OTHERS:
            return 1.0
        refused = self._keys - found.keys
        # What was answered after a refusal was no first request.
        first = max(1, others - (self._served - found.served))
        share = max(LEAST_SHARE, refused / (refused + first))
        return float(share ** (found.times - 1))
