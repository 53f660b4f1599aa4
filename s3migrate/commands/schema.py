"""schema: the JSON Schemas, for editors."""

from __future__ import annotations

from importlib.resources import files

import click

SCHEMAS = {"migration": "migration-v1.schema.json", "plan": "plan-v1.schema.json", "show": "show-v1.schema.json"}


@click.command("schema", short_help="Print a JSON Schema: migration, plan or show.")
@click.argument("kind", type=click.Choice(sorted(SCHEMAS)))
def schema_command(kind: str) -> None:
    """Print the JSON Schema of a declaration (migration), of a plan, or of `show --format json`."""
    click.echo((files("schema") / "json" / SCHEMAS[kind]).read_text(encoding="utf-8"), nl=False)
