"""What is found out of the ends and of the machine that plans."""

from __future__ import annotations

import pytest

from s3migrate.planning.probing import is_here, this_machine
from schema.declaration import Side


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:9000", True),
        ("https://localhost", True),
        ("http://192.0.2.7:9000", False),
        (None, False),
    ],
)
def test_an_end_is_here_where_its_address_is_this_machines(url: str | None, here: bool) -> None:
    assert is_here(Side("bucket", endpoint_url=url)) is here


def test_this_machine_knows_itself() -> None:
    found = this_machine("host-a")
    assert found is not None
    assert found.host == "host-a"
    assert min(found.cores, found.memory, found.request_us, found.mib_us) > 0
