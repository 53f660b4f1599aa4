"""Which errors of the local disk are those of the plan that is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from s3migrate.planning import planned
from s3migrate.planning.planned import Asked, Told, plan_into
from s3migrate.settings import Settings
from schema.errors import LocalDiskError
from storage.port import Believe


@pytest.fixture(params=["stores", "endpoints", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the disk refuses."""

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", "credentials")

    stores = refused if request.param == "stores" else lambda *_, **__: {}
    endpoints = refused if request.param == "endpoints" else lambda declaration, *_: (declaration, {})
    monkeypatch.setattr(planned, "open_sections", stores)
    monkeypatch.setattr(planned, "with_chosen_endpoints", endpoints)
    (tmp_path / "plans").write_text("a file, not a folder")
    return str(request.param)


def test_what_cannot_be_read_is_not_said_to_be_unwritable(place: str, tmp_path: Path) -> None:
    declaration = SimpleNamespace(pairs=[], timeouts=None, sha256="0" * 64, manifests="manifests")
    asked = Asked(cast(Any, declaration), tmp_path, None, 1, Believe.LISTING, False)
    settings = cast(Settings, SimpleNamespace(state_folder=tmp_path / "state"))
    error = LocalDiskError if place == "folder" else PermissionError
    with pytest.raises(error) as caught:
        plan_into(tmp_path / "plans" / "p.yaml", asked, settings, told=cast(Told, None))
    assert ("cannot be written" in str(caught.value)) is (place == "folder")
