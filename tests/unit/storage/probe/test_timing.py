"""What counts of a probe's requests: small ones that succeeded, reads and writes apart."""

from __future__ import annotations

from schema.errors import ServerFault
from storage.port import RequestSample
from storage.probe.timing import Timing


def test_medians_of_small_reads_and_writes() -> None:
    timing = Timing()
    assert (timing.read_us, timing.write_us) == (None, None)
    for operation, seconds, size, error in (
        ("HeadObject", 0.010, 0, None),
        ("GetObject", 0.030, 100, None),
        ("GetObject", 0.020, 100, None),
        ("GetObject", 9.0, 10**8, None),
        ("GetObject", 9.0, 0, ServerFault("500")),
        ("ListObjectsV2", 9.0, 0, None),
        ("PutObject", 0.0001, 10, None),
    ):
        timing.before(operation, size)
        timing.after(RequestSample(operation, seconds, seconds, size, error))
    assert (timing.read_us, timing.write_us) == (20_000, 100)
