"""init: a commented declaration to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from schema.errors import LocalDiskError, UsageError
from schema.limits import LIMITS
from schema.timeouts import DEFAULT_TIMEOUTS, NAMES

_TEMPLATE = files("s3migrate") / "example.migration.yaml"
_LIMITS = "\n".join(f"#   {name + ': ' + limit.example:<38}# {limit.says}" for name, limit in LIMITS.items())
_TIMEOUTS = "\n".join(f"#   {name}: {getattr(DEFAULT_TIMEOUTS, name)}s" for name in NAMES)


def example() -> str:
    """The commented declaration, with every limit and timeout."""
    text = _TEMPLATE.read_text(encoding="utf-8")
    return text.replace("# @LIMITS@", _LIMITS).replace("# @TIMEOUTS@", _TIMEOUTS)


@click.command("init", short_help="Write a commented declaration.")
@click.argument("path", type=click.Path(path_type=Path), default="migration.yaml")
def init_command(path: Path) -> None:
    """Write a commented declaration to PATH (default: migration.yaml)."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(example())
    except FileExistsError:
        raise UsageError(f"{path} exists already; name another file or remove it first") from None
    except OSError as error:
        raise LocalDiskError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {path}. Edit it, then: s3migrate plan {path}")
