"""Plans and manifests in buckets: who only looks needs no key, and every option that takes a plan takes a URL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import pytest
from support.sample_plan import sample_plan

from s3migrate.cli import cli
from s3migrate.commands.common import PLAN_PLACE
from s3migrate.console.failure import run_click
from s3migrate.plan_url import PlanUrl
from schema.files.planfile import write_plan
from schema.plan import Section


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A plan whose manifests are in a bucket that nobody here has a key to."""

    def locked(section: Section) -> Section:
        side = replace(section.destination, credentials={"env": "NOBODY"}, ca_bundle=None, sse_customer_key_env=None)
        return replace(section, destination=side)

    sections = tuple(map(locked, sample_plan().sections))
    write_plan(tmp_path / "p.yaml", sample_plan(manifest_store="s3://elsewhere/manifests", sections=sections))
    return str(tmp_path / "p.yaml")


def ran(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    code = run_click(cli, list(words))
    return code, *capsys.readouterr()


@pytest.mark.parametrize("form", ["text", "json", "gitlab", "k8s-resources"])
def test_a_form_that_reads_no_manifest_needs_no_credentials(
    path: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ran(capsys, "show", path, "--format", form)
    assert (code, out != "") == (0, True)


@pytest.mark.parametrize("form", ["md", "html"])
def test_what_could_not_be_read_is_said_in_the_text(path: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ran(capsys, "show", path, "--format", form, "--base", path)
    assert code == 0
    assert "NOBODY_AWS_ACCESS_KEY_ID" in out


def test_who_asks_for_objects_is_told_which_key_is_missing(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("show", path, "--batch", "tiny-p0"), ("check", path)):
        code, _, err = ran(capsys, *words)
        assert code == 77
        assert "NOBODY_AWS_ACCESS_KEY_ID" in err


@pytest.mark.parametrize("which", [("--batch", "tiny-p0"), ("--action", "copy")])
@pytest.mark.parametrize("more", [("-o", "objects.txt"), ("--format", "md"), ("--format", "html")])
def test_objects_are_not_written_to_a_file_nor_as_a_page(
    path: str, which: tuple[str, ...], more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ran(capsys, "show", path, *which, *more)
    assert (code, "leave out -o and other formats" in err) == (64, True)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("certify", "plan_path"),
        ("report", "plan_path"),
        ("explain", "plan_path"),
        ("show", "base_path"),
        ("plan", "base"),
    ],
)
def test_every_option_that_takes_a_plan_takes_a_url(command: str, option: str) -> None:
    context = click.Context(cli)
    found = cli.get_command(context, command)
    assert found is not None
    taken = next(each for each in found.params if each.name == option)
    assert taken.type is PLAN_PLACE
    assert taken.type_cast_value(context, "s3://plans/photos/p.yaml") == PlanUrl("plans", "photos/p.yaml")
    assert taken.type_cast_value(context, "p.yaml") == Path("p.yaml")
