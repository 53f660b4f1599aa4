"""diff as people, machines and pull requests read it, and its exit codes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from support.planning import declare, listed, plan

from s3migrate.cli import cli
from s3migrate.console.failure import run_click
from schema.declaration import Guards
from schema.files.manifest import ManifestFolder
from schema.files.planfile import write_plan
from schema.objects import ListedObject

BEFORE = [listed(f"k{n}|`<b>`", n) for n in range(4)]


def written(folder: Path, name: str, source: list[ListedObject], **more: object) -> str:
    """The path of a plan of *source* beside its manifests."""
    manifests = ManifestFolder(folder / "manifests")
    made = plan(declare(**more), source, manifests=manifests, staging=folder / "staging")  # type: ignore[arg-type]
    write_plan(folder / name, dataclasses.replace(made), manifests)
    return str(folder / name)


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """One object gone, one new, one changed, and another guard."""
    after = [BEFORE[0], BEFORE[1]._replace(size=99), BEFORE[2], listed("new", 5)]
    return (
        written(tmp_path, "old.yaml", BEFORE),
        written(tmp_path, "new.yaml", after, guards=Guards(max_objects=9)),
    )


def ran(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = run_click(cli, list(words))
    return code, capsys.readouterr().out


def test_text_tells_every_level(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out = ran(capsys, "diff", *two)
    assert code == 2
    for line in (
        "  guards.max_objects: (not there) -> 9",
        "  main copy: 4 objects, 6 B -> 4 objects, 106 B",
        "  3 objects differ: 1 entered, 1 left, 1 source (2 manifests read)",
        "  source: k1|`<b>`  copy 1 B → copy 99 B",
        "  left: k3|`<b>`  copy 3 B → nothing",
        "  entered: new  nothing → copy 5 B",
    ):
        assert line in out, out


def test_json_and_markdown_tell_the_same(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out = ran(capsys, "diff", *two, "--format", "json", "--limit", "1")
    told = json.loads(out)
    assert (code, told["format_version"], told["equal"]) == (2, 1, False)
    assert told["objects"]["counts"] == {"entered": 1, "left": 1, "action": 0, "source": 1, "destination": 0}
    assert len(told["objects"]["examples"]) == 1
    code, out = ran(capsys, "diff", *two, "--format", "md")
    assert "- declared: `guards.max_objects` `(not there)` → `9`" in out
    assert "  - source `` k1|`<b>` ``: copy 1 B → copy 99 B" in out


def test_equal_plans_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (written(tmp_path, name, BEFORE) for name in ("a.yaml", "b.yaml"))
    assert ran(capsys, "diff", one, two)[0] == 0
    assert ran(capsys, "diff", one, two, "--format", "md")[1].startswith("Nothing: it does the same as serial 1")


def test_manifests_that_are_gone_are_said(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path(two[0]).parent.glob("manifests/*"):
        path.unlink()
    code, out = ran(capsys, "diff", *two)
    assert code == 2
    assert "  not all could be compared: manifest sha256:" in out


def test_the_comment_says_what_changed(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out = ran(capsys, "show", two[1], "--format", "md", "--base", two[0])
    assert code == 0
    assert "**Changed since the previous plan**" in out
    assert "- 3 objects differ: 1 entered, 1 left, 1 source" in out
