"""init: a commented declaration to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from schema.errors import LocalDiskError, UsageError

EXAMPLE = files("s3migrate") / "example.migration.yaml"


@click.command("init", short_help="Write a commented declaration.")
@click.argument("path", type=click.Path(path_type=Path), default="migration.yaml")
def init_command(path: Path) -> None:
    """Write a commented declaration to PATH (default: migration.yaml)."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(EXAMPLE.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UsageError(f"{path} exists already; name another file or remove it first") from None
    except OSError as error:
        raise LocalDiskError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {path}. Edit it, then: s3migrate plan {path}")
