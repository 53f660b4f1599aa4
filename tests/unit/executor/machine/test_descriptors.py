"""How many workers there is room for, and what a process without room says."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from executor.flow.governor import Governor
from executor.machine.descriptors import RESERVED, Descriptors
from schema.errors import DescriptorsExhausted
from schema.files.manifest import ManifestFolder


def test_workers_share_what_the_others_leave() -> None:
    assert Descriptors(limit=1024, used=30).workers(each=2) == (1024 - 30 - RESERVED) // 2
    assert Descriptors(limit=256, used=30).workers(each=8) == (256 - 30 - RESERVED) // 8
    assert Descriptors(limit=64, used=60).workers(each=8) == 1


def test_the_governor_keeps_within_and_says_why() -> None:
    governor = Governor({}, 512, workers=300)
    assert (governor.target(), governor.snapshot(0).why) == (300, "fixed")
    room = Descriptors(limit=256, used=30)
    governor.bind(room.workers(8), room.why)
    assert (governor.target(), governor.snapshot(0).why) == (23, "bound by open files (ulimit -n 256)")
    governor.set_limits({"concurrent_requests": 10})
    assert (governor.target(), governor.snapshot(0).why) == (10, "limited")
    governor.bind(1000, room.why)
    governor.set_limits({})
    assert (governor.target(), governor.snapshot(0).why) == (300, "fixed")


IN_A_PROCESS = """
import resource
from executor.machine.descriptors import descriptors, raise_limit
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
assert descriptors().limit == 64
raise_limit()
assert descriptors().limit == hard, descriptors()
held = open("/dev/null")
before = descriptors().used
more = open("/dev/null")
assert descriptors().used == before + 1
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    subprocess.run([sys.executable, "-c", IN_A_PROCESS], check=True, cwd=Path(__file__).parents[4])


def test_a_manifest_that_cannot_be_opened_for_it_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ManifestFolder(tmp_path)

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DescriptorsExhausted, match="ulimit -n"):
        folder.open("sha256:" + "0" * 64)
