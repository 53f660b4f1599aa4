"""Two ways to one bucket, near and narrow or far and wide: large objects take the wide one, small ones the near one."""

from __future__ import annotations

import pytest
import yaml
from support.corpus import CorpusObject
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill

from bench.beds import CountedServer, FarServer

NEAR = (0.001, 2e6)
FAR = (0.030, 60e6)
OBJECTS = 240


@pytest.mark.soak
@pytest.mark.parametrize(("size", "wide"), [(200_000, True), (200, False)], ids=["large", "control: small"])
def test_transfers_show_which_endpoint_is_the_better_one(on_rclone: Operator, seed: int, size: int, wide: bool) -> None:
    corpus = [CorpusObject(f"k{n:03}", size, seed) for n in range(OBJECTS)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, corpus)
    with (
        CountedServer(on_rclone.destination) as by_near,
        CountedServer(on_rclone.destination) as by_far,
        FarServer(by_near, NEAR[0], bytes_per_second=NEAR[1]) as near,
        FarServer(by_far, FAR[0], bytes_per_second=FAR[1]) as far,
    ):
        ways = [near.endpoint_url, far.endpoint_url]
        on_rclone.declare(destination={"endpoint_url": ways}, limits={"workers": 8})
        on_rclone.plan().ok()
        (section,) = yaml.safe_load(on_rclone.plan_path.read_text())["sections"]
        assert section["destination"]["endpoint_url"] == ways[0], "round trips are all that an empty bucket shows"
        told = on_rclone.run("apply", on_rclone.plan_path).ok().err
        writes = by_near.writes()["writes"], by_far.writes()["writes"]
    assert sum(writes) == OBJECTS
    assert (writes[1] > OBJECTS / 2) is wide, writes
    assert (f"continues at {ways[1]}" in told) is wide
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []
