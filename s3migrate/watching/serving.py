"""Serving the live page with waitress: at which address, and for whom."""

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
    """Serve until interrupted. *token*: demanded beyond loopback; None: made up and printed. Raises UsageError."""
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
    """Who may read the page."""

    token: str | None
    """None: anybody on this machine."""
    lines: tuple[str, ...]
    """Messages for the operator, without the operator's own token: logs keep what is printed."""


def access_to(address: Address, token: str | None) -> Access:
    """Who may read the page at *address*; *token* is the operator's own, None if there is none."""
    if address.is_loopback:
        return Access(None, (f"watching at {address.url} (Ctrl-C ends it)",))
    made = secrets.token_urlsafe(24) if token is None else None
    where = f"{address.url}?token={quote(made, safe='')}" if made else f"{address.url} with S3MIGRATE_SERVE_TOKEN"
    unencrypted = "it is not encrypted: put it behind a proxy with TLS, or use an SSH tunnel"
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
