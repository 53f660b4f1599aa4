"""The fault matrix: every fault in every phase, once, over a real server; what must come of it is a table.

docs/reliability.md shows the same table. Whatever the fault: nothing is lost, nothing is changed silently, no upload
is left open, and the next apply without the fault completes the run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from support.certificates import shared_certificate
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import (
    Action,
    Bandwidth,
    EnforceChecksums,
    FlipBit,
    Overlong,
    Reset,
    Rule,
    Truncate,
    clock_skewed,
    error,
    expired_token,
    internal_error,
    lying_empty,
    lying_error,
    lying_html,
    slow_down,
    too_many_requests,
)
from support.operator import Operator
from support.oracle import compare, fill
from support.servers import MotoServer

from schema.tiers import MIB, WHOLE_MAX

ARRIVES = 0
"""Repeated or reconciled; exit 0."""
ONE_FAILS = 3
"""The object is given up and named, the others arrive; `retry` and apply mend it."""

CHECKED = [Rule(EnforceChecksums(), operations=("put", "part"))]
"""The destination compares the digests it is sent, as S3 does and moto does not."""
PUTS_CHECKED = [Rule(EnforceChecksums(), operations=("put",))]
"""And where no digest of parts is: there a large object crosses in one PUT."""
SMALL = [
    CorpusObject("one", 3_000, 1, {"ContentType": "text/plain"}, {"a": "1"}, {"kind": "a"}),
    CorpusObject("two", 2_000, 2, {}, {}, {"kind": "b"}),
]
PARTED = [CorpusObject("parted", 7 * MIB, 3, {}, {"b": "2"}, {"kind": "c"})]
LARGE = [CorpusObject("large", WHOLE_MAX + 1, 4, {}, {"b": "2"}, {"kind": "c"})]
"""One PUT through windows."""
LARGE_PUT = "large put"
CORPORA = {"small": SMALL, "parted": PARTED, "large": LARGE}
CORPUS_OF = {LARGE_PUT: "large", **dict.fromkeys(("create", "part", "complete", "head"), "parted")}
PHASES = ("list", "get", "put", "create", "part", "complete", "head", "tag")
BODIES = ("list", "get", "tag")
UPLOADS = ("put", "part")
WRITES = ("put", "create", "part", "complete")
FAULTS: dict[str, tuple[Action, tuple[str, ...], int]] = {
    "reset before the server acted": (Reset(), PHASES, ARRIVES),
    "reset after the server acted": (Reset(after=True), PHASES, ARRIVES),
    "503 SlowDown": (slow_down(retry_after=0), PHASES, ARRIVES),
    "429 with Retry-After": (too_many_requests(retry_after=1), ("get", "put"), ARRIVES),
    "500 InternalError": (internal_error(), PHASES, ARRIVES),
    "200 with nothing in it": (lying_empty(), PHASES, ARRIVES),
    "200 with a web page": (lying_html(), PHASES, ARRIVES),
    "200 with <Error>": (lying_error(), PHASES, ARRIVES),
    "200 with <Error> after the server acted": (lying_error(forward=True), ("complete",), ARRIVES),
    "body cut short": (Truncate(0.5), BODIES, ARRIVES),
    "body too long": (Overlong(), BODIES, ARRIVES),
    "body drips": (Bandwidth(40_000, chunk=100), ("list", "put", "tag"), ARRIVES),
    "bit flipped on the way down": (FlipBit(), ("get",), ARRIVES),
    "bit flipped on the way up": (FlipBit(upload=True), UPLOADS, ARRIVES),
    "403 AccessDenied": (error(403, "AccessDenied"), tuple(p for p in PHASES if p != "list"), ONE_FAILS),
    "credentials expired": (expired_token(), PHASES, 77),
    "clock skewed": (clock_skewed(), PHASES, 77),
    "clock skewed once": (clock_skewed(), PHASES, ARRIVES),
    "bucket gone": (error(404, "NoSuchBucket"), tuple(p for p in PHASES if p != "head"), 68),
    "destination full": (error(507, "InsufficientStorage"), WRITES, 69),
}
DIFFERENT: dict[tuple[str, str], int] = {
    # An answer to HEAD has no body, hence no error code.
    ("credentials expired", "head"): ARRIVES,  # asked again as a GET
    # Where a HEAD is refused a GET of one byte is asked, which is not refused here.
    ("clock skewed", "head"): ARRIVES,
    ("403 AccessDenied", "head"): ARRIVES,
    # It may be the unsigned body that is refused: until one was taken, it is sent again with its SHA-256 signed.
    ("403 AccessDenied", "put"): ARRIVES,
    ("403 AccessDenied", "part"): ARRIVES,
    # A page is asked for again, with credentials read anew.
    ("credentials expired", "list"): ARRIVES,
}
"""Cells that differ from their row."""
LASTING = {"clock skewed"}
"""They strike again and again. One such answer is no clock that is wrong: it is asked again at once."""
IN_TURN = {("403 AccessDenied", "put"), ("403 AccessDenied", "part")}
"""Beside another request that is taken meanwhile, the refused one is not sent again: its body need not be signed."""
LEFT_OPEN = {("reset after the server acted", "create")}
"""The upload's id was in the answer that was lost: nobody can name it. A lifecycle rule of the bucket ends it."""
CELLS = [(fault, phase) for fault, (_, phases, _) in FAULTS.items() for phase in phases]
CELLS += [(fault, LARGE_PUT) for fault, (_, phases, _) in FAULTS.items() if "put" in phases]
"""Whatever becomes of its PUT, a large object may still go in parts: it arrives."""
OF_LARGE_PUTS = {
    ("reset before the server acted", LARGE_PUT),
    ("reset after the server acted", LARGE_PUT),
    ("bit flipped on the way up", LARGE_PUT),
    ("403 AccessDenied", LARGE_PUT),
    ("credentials expired", LARGE_PUT),
}
COVERED = sorted({phase for _, phase in CELLS if phase != LARGE_PUT})
EVERY_TIME = {
    # Each fault once, each phase under several faults; the other cells are run by `make soak`.
    *((fault, phases[number % len(phases)]) for number, (fault, (_, phases, _)) in enumerate(FAULTS.items())),
    *(next(cell for cell in CELLS if cell[1] == phase) for phase in COVERED),
    *DIFFERENT,
    *LEFT_OPEN,
    *OF_LARGE_PUTS,
}
EVERY_TIME_OVER_TLS = {
    # What a wire does by itself: the others are decided above it. All cells over TLS are run by `make soak`.
    ("reset before the server acted", "get"),
    ("reset after the server acted", "put"),
    ("body cut short", "get"),
    ("body too long", "get"),
    ("bit flipped on the way up", "put"),
    ("reset before the server acted", LARGE_PUT),
}


Cell = tuple[Operator, FaultProxy]


@pytest.fixture(scope="module")
def proxies(moto_server: MotoServer) -> Iterator[dict[str, FaultProxy]]:
    """Before both sides, by the scheme they speak."""
    with (
        FaultProxy(moto_server.endpoint_url, seed=1) as plain,
        FaultProxy(moto_server.endpoint_url, seed=1, certificate=shared_certificate()) as secured,
    ):
        yield {"http": plain, "https": secured}


@pytest.fixture
def proxy(proxies: dict[str, FaultProxy], scheme: str, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    """The one of this cell."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(shared_certificate().file))
    return proxies[scheme]


@pytest.fixture(scope="module")
def planned(
    tmp_path_factory: pytest.TempPathFactory, moto_server: MotoServer
) -> Callable[[str, int, FaultProxy, str], Operator]:
    """An operator with two small tagged objects, or with a big one; planned once for all cells of a proxy."""
    operators: dict[tuple[str, int, str], Operator] = {}

    def get(corpus: str, workers: int, proxy: FaultProxy, ledger_url: str) -> Operator:
        place = corpus, workers, proxy.endpoint_url
        if place not in operators:
            buckets = [moto_server.create_bucket(f"{side}-{uuid.uuid4().hex[:12]}") for side in ("src", "dst")]
            made = Operator(tmp_path_factory.mktemp("matrix"), ledger_url, moto_server, moto_server, *buckets)
            fill(moto_server.client(), made.source_bucket, CORPORA[corpus])
            made.destination_url = proxy.endpoint_url
            # Within one endpoint a large object goes in parts.
            made.source_url = moto_server.endpoint_url if corpus == "large" else proxy.endpoint_url
            made.declare(limits={"memory": "12MiB", "workers": workers}, policy={"transfer": "stream"})
            made.plan().ok()
            operators[place] = made
        return replace(operators[place], ledger_url=ledger_url)

    return get


@pytest.fixture
def cell(
    planned: Callable[[str, int, FaultProxy, str], Operator],
    proxy: FaultProxy,
    ledger_url: str,
    fault: str,
    phase: str,
) -> Iterator[Cell]:
    """An empty destination, an empty ledger, no fault yet, the plan."""
    proxy.rules = PUTS_CHECKED if phase == LARGE_PUT else CHECKED
    workers = 1 if (fault, phase) in IN_TURN else 3
    operator = planned(CORPUS_OF.get(phase, "small"), workers, proxy, ledger_url)
    proxy.forget()
    yield operator, proxy
    proxy.rules = []
    client, bucket = operator.destination.client(), operator.destination_bucket
    for found in client.list_objects_v2(Bucket=bucket).get("Contents", ()):
        client.delete_object(Bucket=bucket, Key=found["Key"])
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


@pytest.mark.parametrize(
    ("fault", "phase", "scheme"),
    [
        pytest.param(*cell, scheme, id=", ".join((*cell, scheme)), marks=() if cell in often else pytest.mark.soak)
        for scheme, often in (("http", EVERY_TIME), ("https", EVERY_TIME_OVER_TLS))
        for cell in CELLS
    ],
)
def test_cell(cell: Cell, fault: str, phase: str) -> None:
    operator, proxy = cell
    action, _, usual = FAULTS[fault]
    expected = ARRIVES if phase == LARGE_PUT else DIFFERENT.get((fault, phase), usual)
    operation = "put" if phase == LARGE_PUT else phase
    checked = proxy.rules
    proxy.rules = [Rule(action, operations=(operation,), times=None if fault in LASTING else 1), *checked]
    if phase == "list":
        before = operator.plan_path.read_bytes()
        ran = operator.plan()
        assert operator.plan_path.read_bytes() == before
    else:
        ran = operator.apply()
    assert any(exchange.faults for exchange in proxy.history if exchange.operation == operation), (
        "the fault never struck"
    )
    assert ran.code == expected, (ran.code, ran.err)
    assert expected == ARRIVES or ran.err.count("s3migrate:") == 1, ran.err
    proxy.rules = checked
    if expected == ONE_FAILS:
        assert operator.run("retry").code == 0
    if expected != ARRIVES or phase == "list":
        operator.apply().ok()
    assert compare(operator.source_side, operator.destination_side) == []
    assert len(operator.uploads()) == ((fault, phase) in LEFT_OPEN)
