"""ledger: the schema, the integrity check, the embedded server."""

from __future__ import annotations

import click

from executor.ledger.database import ledger_url
from executor.ledger.migrate import ROLES, script
from s3migrate.commands.common import chosen_run, told_as_json
from s3migrate.settings import read_settings
from s3migrate.wiring import embedded, open_ledger
from schema.errors import LedgerSchemaError


@click.group("ledger", short_help="The ledger: its schema, its state, its server.")
def ledger_group() -> None:
    """The PostgreSQL ledger: S3MIGRATE_LEDGER, or the embedded server under .s3migrate/."""


@ledger_group.command("migrate")
@told_as_json
def migrate() -> None:
    """Bring the ledger's schema up to date."""
    ledger = open_ledger(read_settings(), migrate=False)
    try:
        applied = ledger.schema.migrate()
    finally:
        ledger.close()
    click.echo(f"Applied: {', '.join(map(str, applied))}." if applied else "Up to date.")


@ledger_group.command("check")
@click.argument("run_id", metavar="RUN", type=int, required=False)
@told_as_json
def check(run_id: int | None) -> None:
    """Recompute the audit chain and the digests of RUN (default: the latest); any altered row is named."""
    ledger = open_ledger(read_settings(), migrate=False)
    try:
        ledger.schema.check()
        complaints = ledger.checks.contradictions(chosen_run(ledger, run_id).run_id)
    finally:
        ledger.close()
    if complaints:
        raise LedgerSchemaError("the ledger was altered:\n" + "\n".join(complaints))
    click.echo("The audit chain and every digest are whole.")


@ledger_group.command("sql")
@click.option("--roles", is_flag=True, help="The roles and their rights instead: owner, worker, reader.")
@told_as_json
def sql(roles: bool) -> None:
    """Print the SQL that makes the schema, for a DBA; then that of the roles, so that a worker owns nothing."""
    click.echo(ROLES.read_text() if roles else script(), nl=False)


@ledger_group.command("url")
@told_as_json
def url() -> None:
    """Print the ledger's address, without a password."""
    settings = read_settings()
    if settings.ledger_url is not None:
        click.echo(ledger_url(settings.ledger_url).set(drivername="postgresql").render_as_string(hide_password=True))
    else:
        click.echo(ledger_url(embedded(settings).url()).set(drivername="postgresql").render_as_string())


@ledger_group.command("stop")
@told_as_json
def stop() -> None:
    """Stop the embedded server; the next command that needs it starts it again."""
    server = embedded(read_settings())
    if server.running():
        server.stop()
        click.echo("Stopped.")
    else:
        click.echo("Not running.")
