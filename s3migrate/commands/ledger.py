"""ledger: the schema, the integrity check, the embedded server."""

from __future__ import annotations

from contextlib import closing

import click

from executor.ledger.address import shown_url
from executor.ledger.embedded.server import ServerState
from executor.ledger.embedded.watcher import read_idle
from executor.ledger.upkeep.migrate import ROLES, script
from s3migrate.commands.common import chosen_run, json_errors, json_lines, json_option
from s3migrate.settings import read_settings
from s3migrate.wiring import embedded, open_ledger
from schema.errors import LedgerSchemaError, LedgerUnavailable
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, size_text


@click.group("ledger", short_help="The ledger: its schema, its state, its server.")
def ledger_group() -> None:
    """The PostgreSQL ledger: S3MIGRATE_LEDGER, or the embedded server under .s3migrate/."""


@ledger_group.command("migrate")
@json_errors
def migrate() -> None:
    """Bring the ledger's schema up to date."""
    with closing(open_ledger(read_settings(), migrate=False)) as ledger:
        applied = ledger.schema.migrate()
    click.echo(f"Applied: {', '.join(map(str, applied))}." if applied else "Up to date.")


@ledger_group.command("check")
@click.argument("run_id", metavar="RUN", type=int, required=False)
@json_errors
def check(run_id: int | None) -> None:
    """Recompute the audit chain and the digests of RUN (default: the latest); names every altered row."""
    with closing(open_ledger(read_settings(), migrate=False)) as ledger:
        ledger.schema.check()
        complaints = ledger.checks.contradictions(chosen_run(ledger, run_id).run_id)
    if complaints:
        raise LedgerSchemaError("the ledger was altered:\n" + "\n".join(complaints))
    click.echo("The audit chain and every digest are intact.")


@ledger_group.command("prune")
@click.argument("run_id", metavar="RUN", type=int)
@json_option
@json_errors
def prune(run_id: int, as_json: bool) -> None:
    """Free the space of rows that RUN, which must have ended, no longer needs.

    Its plan, every completion and verification, and the audit chain are kept: certificates, `ledger check`, `explain`
    and later plans work as before. Failed attempts at objects that arrived later and the run's history are removed.
    """
    settings = read_settings()
    with closing(open_ledger(settings)) as ledger:
        pruned = ledger.pruning.prune(run_id, who=settings.who)
    if as_json:
        json_lines().emit({"type": "pruned", "run_id": run_id, **pruned._asdict()})
        return
    named = ", ".join(f"{count_text(rows)} of {table}" for table, rows in pruned.rows.items()) or "nothing"
    click.echo(
        f"Run {run_id}: rows removed: {named}; {size_text(pruned.bytes)} of disk freed. "
        f"Kept: {size_text(pruned.kept_bytes)} of completions and proofs."
    )


@ledger_group.command("sql")
@click.option("--roles", is_flag=True, help="The roles and their rights instead: owner, worker, reader.")
@json_errors
def sql(roles: bool) -> None:
    """Print the SQL of the schema, for a DBA; with --roles, of the roles under which a worker owns nothing."""
    click.echo(ROLES.read_text() if roles else script(), nl=False)


@ledger_group.command("url")
@json_errors
def url() -> None:
    """Print the ledger's address, without a password."""
    settings = read_settings()
    click.echo(shown_url(settings.ledger_url or embedded(settings).url()))


@ledger_group.command("stop")
@json_errors
def stop() -> None:
    """Stop the embedded server; the next command that needs it starts it again."""
    server = embedded(read_settings())
    if server.state() is ServerState.STOPPED:
        click.echo("Not running.")
        return
    server.stop()
    if server.state() is not ServerState.STOPPED:
        raise LedgerUnavailable(f"the ledger's server in {server.data} (pid {server.process()}) does not stop")
    click.echo("Stopped.")


@ledger_group.command("status")
@json_errors
def status() -> None:
    """Whether the embedded server runs, and until when. Starts nothing."""
    settings = read_settings()
    if settings.ledger_url is not None:
        click.echo("S3MIGRATE_LEDGER names another server; there is no embedded one.")
        return
    server = embedded(settings)
    click.echo(one_line(f"{_STATES[server.state()].format(pid=server.process())} Its data: {server.data}"))
    if server.state() is ServerState.RUNNING:
        idle, _ = read_idle(server.folder)
        until = f"when no command has needed it for {idle:g} s" if idle else "only by `s3migrate ledger stop`"
        click.echo(f"It is stopped {until}.")


_STATES = {
    ServerState.STOPPED: "Not running; the next command that needs it starts it.",
    ServerState.RUNNING: "Running (pid {pid}).",
    ServerState.UNREACHABLE: "Running (pid {pid}), but it cannot be reached; the next command restarts it.",
}
