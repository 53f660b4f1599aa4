"""The live page behind waitress: where it listens, who may look, and until when."""

from __future__ import annotations

import secrets
import socket

import click
import waitress

from executor.ledger.ledger import Ledger
from s3migrate.watching.address import Address
from s3migrate.watching.web import RunReader, Watching
from schema.errors import UsageError

THREADS = 4


def serve(ledger: Ledger, where: str, *, token: str | None) -> None:
    """Serve until interrupted. *token*: asked for beyond loopback; None: one is made and printed. Raises UsageError."""
    listening, address = listen(where)
    if address.is_loopback:
        token = None
        click.echo(f"s3migrate: watching at {address.url} (Ctrl-C ends it)", err=True)
    else:
        token = token or secrets.token_urlsafe(24)
        click.echo(f"s3migrate: watching at {address.url}?token={token} (Ctrl-C ends it)", err=True)
        click.echo("s3migrate: it is not encrypted: put a proxy with TLS before it, or use an SSH tunnel", err=True)
    watching = Watching(RunReader(ledger), address, token)
    server = waitress.create_server(
        watching, sockets=[listening], threads=THREADS, ident=None, max_request_body_size=1024, channel_timeout=30
    )
    try:
        server.run()
    finally:
        server.close()


def listen(where: str) -> tuple[socket.socket, Address]:
    """A socket that listens at *where*, and its address with the port it got. Raises UsageError."""
    try:
        asked = Address.parse(where)
    except ValueError as error:
        raise UsageError(f"--serve: {error}") from None
    family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
    try:
        listening = socket.create_server((asked.host, asked.port), family=family)
    except OSError as error:
        raise UsageError(
            f"nothing can be served at {asked.host}:{asked.port}: {error.strerror}; choose another address"
        ) from error
    return listening, asked._replace(port=listening.getsockname()[1])
