"""Fixtures with a lifetime: servers, bucket names, the scrubbed environment; and the seed of every test."""

from __future__ import annotations

import functools
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.known_servers import known, probed_once
from support.servers import MotoServer, RcloneServer

from s3migrate.planning import probing

pytest_plugins = ["support.postgres", "support.migrations"]

settings.register_profile(
    "default", max_examples=30, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("soak", settings.get_profile("default"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ONLY = frozenset({"alone", "soak"})
"""Markers of a few tests, which are run by `-m MARKER...`."""
SEED = int(os.environ.get("TEST_SEED", "20261124"))
"""Every seeded test takes this one; `make soak` sets another each time."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test that used `seed` says which, so that it can be repeated."""
    report = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("seed", f"repeat with TEST_SEED={SEED}"))
    return report


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only tests with one marker are asked for, files without it are not even imported."""
    marker = str(config.option.markexpr).partition(" ")[0]
    asked = marker in ONLY and collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if asked and f"mark.{marker}" not in collection_path.read_text(encoding="utf-8") else None


@pytest.fixture
def seed() -> int:
    """The seed of this run."""
    return SEED


@pytest.fixture
def rng(seed: int) -> random.Random:
    """A seeded source of randomness."""
    return random.Random(seed)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential, profile, region or setting of the developer's reaches a test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "S3MIGRATE_", "RCLONE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(scope="session", autouse=True)
def machine_timed_once() -> Iterator[None]:
    """Hundreds of plans are made here, on one machine: what its processor takes is timed for the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "md5_us", functools.cache(probing.md5_us))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_servers_probed_once() -> Iterator[None]:
    """See known_servers."""
    with probed_once():
        yield


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """One moto server for the whole run; take a fresh bucket."""
    with MotoServer() as server, known(server.endpoint_url):
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[RcloneServer]:
    """One `rclone serve s3` for the whole run, over a folder on the RAM disk; take a fresh bucket."""
    with RcloneServer() as server, known(server.endpoint_url):
        yield server


@pytest.fixture(scope="session")
def rclone_servers(rclone_server: RcloneServer) -> Iterator[tuple[RcloneServer, RcloneServer]]:
    """Two rclone servers over two folders: a source (the same as `rclone_server`) and a destination."""
    with RcloneServer() as destination, known(destination.endpoint_url):
        yield rclone_server, destination


@pytest.fixture
def bucket_name() -> str:
    """A bucket name nobody has used."""
    return f"b-{uuid.uuid4().hex[:16]}"
