"""init: a commented declaration to start from. schema: the JSON Schemas, for editors."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from s3migrate.example import EXAMPLE
from schema.errors import LocalDiskError, UsageError

SCHEMAS = {"migration": "migration-v1.schema.json", "plan": "plan-v1.schema.json"}


@click.command("init", short_help="Write a commented declaration.")
@click.argument("path", type=click.Path(path_type=Path), default="migration.yaml")
def init_command(path: Path) -> None:
    """Write a commented declaration to PATH (default: migration.yaml)."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(EXAMPLE)
    except FileExistsError:
        raise UsageError(f"{path} exists already; name another file or remove it first") from None
    except OSError as error:
        raise LocalDiskError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {path}. Edit it, then: s3migrate plan {path}")


@click.command("schema", short_help="Print a JSON Schema: migration or plan.")
@click.argument("kind", type=click.Choice(sorted(SCHEMAS)))
def schema_command(kind: str) -> None:
    """Print the JSON Schema of a declaration (migration) or of a plan."""
    click.echo((files("schema") / "json" / SCHEMAS[kind]).read_text(encoding="utf-8"), nl=False)
