"""The live page behind waitress: where it listens, who may look, and until when."""

from __future__ import annotations

import secrets
import socket
from typing import NamedTuple
from urllib.parse import quote

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
    access = access_to(address, token)
    for line in access.lines:
        click.echo(f"s3migrate: {line}", err=True)
    watching = Watching(RunReader(ledger), address, access.token)
    server = waitress.create_server(
        watching, sockets=[listening], threads=THREADS, ident=None, max_request_body_size=1024, channel_timeout=30
    )
    try:
        server.run()
    finally:
        server.close()


class Access(NamedTuple):
    """Who may look."""

    token: str | None
    """None: whoever is on this machine."""
    lines: tuple[str, ...]
    """What the operator is told. A token that was given is not in them: logs keep what is printed."""


def access_to(address: Address, token: str | None) -> Access:
    """Whom the page at *address* is for; *token* is the operator's own, None where there is none."""
    if address.is_loopback:
        return Access(None, (f"watching at {address.url} (Ctrl-C ends it)",))
    made = secrets.token_urlsafe(24) if token is None else None
    where = f"{address.url}?token={quote(made, safe='')}" if made else f"{address.url} with S3MIGRATE_SERVE_TOKEN"
    unencrypted = "it is not encrypted: put a proxy with TLS before it, or use an SSH tunnel"
    return Access(token or made, (f"watching at {where} (Ctrl-C ends it)", unencrypted))


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
