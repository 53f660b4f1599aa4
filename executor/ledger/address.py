"""The ledger's address: what S3MIGRATE_LEDGER says, in psycopg2's words, and how it may be shown.

SQLAlchemy reads the addresses that are not plain; it is imported only then, because it takes long to load.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote_plus, unquote

import psycopg2
from psycopg2.extensions import parse_dsn

from schema.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

DRIVER = "postgresql+psycopg2"
"""Pinned: SQLAlchemy 2.1 takes `postgresql://` to mean psycopg 3."""
ACCEPTED_SCHEMES = frozenset({"postgres", "postgresql", DRIVER})

PLAIN_URL = re.compile(
    r"(postgres|postgresql|postgresql\+psycopg2)://((?P<user>[^:/?#@]*)(:(?P<password>[^/?#@]*))?@)?"
    r"(?P<host>[\w.-]*)(:(?P<port>\d+))?/(?P<dbname>[^/?#@%]*)(\?(?P<query>[^#]*))?"
)
"""Of one server, with nothing that has to be understood; SQLAlchemy reads all others."""
_BEHIND_PASSWORD = re.compile("[^:/]*://[^:/]*:[^@]*@(.*)", re.DOTALL)
_SECRET_OPTION = re.compile("password|secret|scram_")
MASK = "***"
LEAST_REDACTED = 4
"""Characters. What is shorter stands in messages by chance."""

_ENCODE = "percent-encode what is special in the password: @ is %40, / is %2F, : is %3A"


def connect_keywords(url: str) -> dict[str, str]:
    """The arguments of psycopg2.connect for *url*. Raises UsageError, which repeats no value: it may be a password."""
    behind = _BEHIND_PASSWORD.match(url)
    if behind is not None and "@" in behind[1]:
        raise UsageError(f"the ledger's URL has another @ behind the one before its host; {_ENCODE}")
    keywords = plain_keywords(url)
    if keywords is None:
        keywords = _spelled_out(ledger_url(url))
    for name, value in keywords.items():
        if not _known(name):
            raise UsageError(f"the ledger's URL has the option {name!r}, which PostgreSQL does not know; remove it")
        if "\0" in value or not _encodable(value):
            raise UsageError(f"the ledger's URL has a character in its {name} that is not allowed there; correct it")
    return keywords


def plain_keywords(url: str) -> dict[str, str] | None:
    """The arguments of psycopg2.connect for *url*, as SQLAlchemy makes them; None where only SQLAlchemy can tell."""
    found = PLAIN_URL.fullmatch(url)
    if found is None:
        return None
    spelled = parse_qsl(found["query"] or "")
    query = dict(spelled)
    if len(query) < len(spelled) or re.search("[,:]", query.get("host", "")):
        return None  # several servers, one after the other
    named = {name: unquote(found[name]) for name in ("user", "password", "host", "port", "dbname") if found[name]}
    return named | query


def ledger_url(url: str) -> URL:
    """*url* with the pinned driver. Raises UsageError, which never repeats the URL: it may hold a password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in ACCEPTED_SCHEMES:
        raise UsageError(f"the ledger's URL must look like postgresql://user@host:5432/database; {_ENCODE}")
    return parsed.set(drivername=DRIVER)


def shown_url(url: str) -> str:
    """*url* with every secret masked. Raises UsageError as `connect_keywords` does."""
    connect_keywords(url)
    parsed = ledger_url(url).set(drivername="postgresql")
    masked = dict.fromkeys(filter(_SECRET_OPTION.search, parsed.query), MASK)
    return parsed.update_query_dict(masked).render_as_string().replace(quote_plus(MASK), MASK)


def redacted(text: str, keywords: Mapping[str, str]) -> str:
    """*text* with the secrets among *keywords* masked where they stand as words of their own."""
    for name, value in keywords.items():
        if _SECRET_OPTION.search(name) and len(value) >= LEAST_REDACTED:
            word = ("(?<!\\w)" * value[0].isalnum()) + re.escape(value) + ("(?!\\w)" * value[-1].isalnum())
            text = re.sub(word, MASK, text)
    return text


def _spelled_out(url: URL) -> dict[str, str]:
    from sqlalchemy.dialects.postgresql.psycopg2 import dialect
    from sqlalchemy.exc import ArgumentError

    try:
        keywords = dialect().create_connect_args(url)[1]  # type: ignore[no-untyped-call]
    except (ArgumentError, ValueError):
        raise UsageError(
            "the ledger's URL names hosts and ports that do not fit together; write ?host=a:5432&host=b:5432 alone"
        ) from None
    for name, value in keywords.items():
        if not isinstance(value, str | int):
            raise UsageError(f"the ledger's URL has the option {name!r} more than once; keep one")
    return {name: str(value) for name, value in keywords.items()}


def _known(option: str) -> bool:
    try:
        return option.isidentifier() and option in parse_dsn(f"{option}=''")
    except psycopg2.ProgrammingError:
        return False


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
