"""Services that throttle or break on single objects for ever, or take their time: docs of each kind in reliability.md.

Each fault has a control run without it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Delay, Rule, internal_error, slow_down
from support.operator import Operator, Ran
from support.oracle import fill
from support.scripted_server import KEYS, ScriptedServer, answer

from executor import attempts
from executor.flow import endpoint, pace, throttled_keys
from schema.declaration import Side
from schema.errors import RequestTimedOut, ResponseUnreadable
from schema.timeouts import NAMES, Timeouts
from storage.credentials import Secrets
from storage.port import CopySource
from storage.s3.store import S3Store

OBJECTS = 100
BAD = "-bad"
SLOW_SECONDS = 1.4
"""More than the shortest timeout there is, a second."""


class SlowServer(ScriptedServer):
    """Answers every request after SLOW_SECONDS, with something."""

    def converse(self, client: socket.socket, connection: int) -> None:  # noqa: ARG002  as the base has it
        """One request; whoever asked may have gone by the time it is answered."""
        with client, suppress(OSError):
            client.recv(65_536)
            threading.Event().wait(SLOW_SECONDS)
            client.sendall(answer(body=b"<R/>", ETag='"e"'))


@pytest.fixture
def slow_url() -> Iterator[str]:
    """Of a server that takes its time."""
    server = SlowServer([])
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


CALLS: dict[str, Callable[[S3Store], object]] = {
    "list": lambda store: store.fetch_page([("list-type", "2")]),
    "head": lambda store: store.head("k"),
    "get": lambda store: store.get("k", memoryview(bytearray(4))),
    "put": lambda store: store.put("k", b"body", []),
    "complete": lambda store: store.complete_upload("k", "u", [(1, "e")]),
    "copy": lambda store: store.copy(CopySource("b", "k"), "k", []),
    "other": lambda store: store.create_upload("k", []),
}


def test_slow_list(slow_url: str) -> None:
    """Each kind of request is given up after its own time, and has its answer when it may take longer."""

    def outcome(kind: str, seconds: Timeouts) -> str:
        store = S3Store(Side("bucket", endpoint_url=slow_url), Secrets(KEYS), timeouts=seconds)
        try:
            CALLS[kind](store)
        except RequestTimedOut:
            return "given up"
        except ResponseUnreadable:
            return "answered"  # not what the operation promises, but in time
        finally:
            store.close()
        return "answered"

    short = Timeouts(**dict.fromkeys(NAMES, 1))
    cases = [(kind, short) for kind in CALLS]
    cases += [(kind, Timeouts(**{**dict.fromkeys(NAMES, 1), kind: 30})) for kind in CALLS]
    with ThreadPoolExecutor(len(cases)) as threads:
        found = list(threads.map(lambda case: outcome(*case), cases))

    assert found == ["given up"] * len(CALLS) + ["answered"] * len(CALLS)
    assert Timeouts().list > 45, "the page that a service with many deleted keys was seen to need"


@pytest.mark.parametrize("seconds", [0.0, SLOW_SECONDS], ids=["control", "slow"])
def test_slow_list_is_planned_when_the_declaration_says_so(on_rclone: Operator, seed: int, seconds: float) -> None:
    with FaultProxy(on_rclone.source.endpoint_url, seed=seed) as proxy:
        on_rclone.source_url = proxy.endpoint_url
        filled(on_rclone, 3, ())
        on_rclone.declare(timeouts={"list": "5s", "head": "1s"})
        proxy.rules = [Rule(Delay(seconds), operations=("list",), times=1)]
        ran = on_rclone.plan()
    assert ran.code == 0, ran.err
    assert on_rclone.summary()["copy"]["objects"] == 3


def filled(operator: Operator, objects: int, bad: Sequence[int]) -> None:
    """So many small objects with metadata at the source; the *bad* ones say so in their keys."""
    names = [f"{number:04d}{BAD if number in bad else ''}" for number in range(objects)]
    corpus = [CorpusObject(name, 500, 1, metadata={"note": "n" * 300}) for name in names]
    fill(operator.source.client(), operator.source_bucket, corpus)


def applied(operator: Operator, proxy: FaultProxy, rules: Sequence[Rule]) -> tuple[Ran, float]:
    """The run of a plan made before *proxy* began to behave by *rules*, and how long it took."""
    operator.declare(limits={"workers": 8})
    ran = operator.plan()
    assert ran.code == 0, ran.err
    proxy.rules = list(rules)
    began = time.monotonic()
    ran = operator.apply("--json")
    return ran, time.monotonic() - began


SPREAD, TOGETHER, NONE = range(5, OBJECTS, 5), range(40, 60), ()


@pytest.mark.soak
@pytest.mark.parametrize("bad", [SPREAD, TOGETHER, NONE], ids=["spread", "together", "control"])
def test_poison_500(on_rclone: Operator, seed: int, bad: Sequence[int]) -> None:
    with FaultProxy(on_rclone.destination.endpoint_url, seed=seed) as proxy:
        on_rclone.destination_url = proxy.endpoint_url
        filled(on_rclone, OBJECTS, bad)
        ran, _ = applied(on_rclone, proxy, [Rule(internal_error(), operations=("put",), key=BAD)])
    (complete,) = ran.lines("run_complete")
    final = [said for said in ran.lines("object_error") if said["final"]]
    assert (complete["done"], complete["failed"]) == (OBJECTS - len(bad), len(bad))
    assert ran.code == (3 if bad else 0), ran.err
    assert ran.lines("waiting") == [], "the endpoint is well, whatever becomes of single objects"
    assert len(final) == len(bad) and all(BAD in said["key"] for said in final)
    assert all("1 metadata header of 304 bytes under a key of 8 bytes" in said["message"] for said in final), final


@pytest.mark.soak
@pytest.mark.parametrize("bad", [range(5, 60, 9), range(1, 13), NONE], ids=["spread", "together", "control"])
def test_poison_503(on_rclone: Operator, seed: int, bad: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """*together*: more of them than workers, and nothing but the canary before them."""
    monkeypatch.setattr(attempts, "delay", lambda *_, **__: 0.05)
    monkeypatch.setattr(throttled_keys, "HOPELESS_SECONDS", 0.5)
    monkeypatch.setattr(endpoint, "ASK_AFTER_SECONDS", 0.02)
    monkeypatch.setattr(endpoint, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(pace, "LEAST_RATE", 50.0)
    monkeypatch.setattr("executor.apply.endpoint_watch.ASK_SECONDS", 0.0)
    with FaultProxy(on_rclone.source.endpoint_url, seed=seed) as proxy:
        on_rclone.source_url = proxy.endpoint_url
        filled(on_rclone, 60, bad)
        ran, _ = applied(on_rclone, proxy, [Rule(slow_down(), operations=("get",), key=BAD)])
    (complete,) = ran.lines("run_complete")
    final = [said for said in ran.lines("object_error") if said["final"]]
    assert (complete["done"], complete["failed"]) == (60 - len(bad), len(bad))
    assert ran.code == (3 if bad else 0), ran.err
    assert len(final) == len(bad) and all(BAD in said["key"] for said in final)
    assert all("other requests were answered; `s3migrate retry`" in said["message"] for said in final), final
