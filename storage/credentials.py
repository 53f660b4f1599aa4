"""From the declaration's reference to credentials to a current access key, secret and session token.

A reference is one of `{profile: NAME}`, `{env: PREFIX}` (PREFIX_AWS_ACCESS_KEY_ID and so on),
`{role_arn: ..., external_id: ..., source: {...}}`, `{anonymous: true}`, or `{}` for botocore's own chain.
The environment is read here (and in s3migrate/settings.py) and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from schema.errors import CredentialsRefused, StoreError
from storage.credential_errors import credential_failure

ROLE_SESSION_NAME = "s3migrate"
RENEW_BEFORE_S = 300.0
"""Temporary credentials are renewed this long before they end."""
RECHECK_S = 5.0
"""How long one answer of botocore's own (refreshing) credentials is used before it is asked again."""
RETRY_S = 30.0
"""Seconds until the next attempt when keys could not be renewed while the old ones are still valid."""


class Keys(NamedTuple):
    """What signs a request."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return "Keys(<hidden>)"


class Credentials(Protocol):
    """A source of keys that stays current during a run. Safe to use from many threads."""

    def current(self) -> Keys | None:
        """The keys to sign with now; None: do not sign. Raises a StoreError (storage/credential_errors.py)."""

    def refresh(self, stale: Keys | None) -> bool:
        """The server calls *stale* expired: get newer ones. True when current() now answers other keys."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What opens one side. Nothing of it is shown."""

    credentials: Credentials = field(repr=False)
    customer_key: bytes | None = field(default=None, repr=False)
    """32 bytes: the SSE-C key of the side's objects."""


class FixedKeys:
    """Keys that never change during a run; None: anonymous."""

    def __init__(self, keys: Keys | None) -> None:
        self._keys = keys

    def current(self) -> Keys | None:
        """Always the same."""
        return self._keys

    def refresh(self, stale: Keys | None) -> bool:
        """There is nothing newer."""
        return self._keys != stale

    def __repr__(self) -> str:
        return "FixedKeys(<hidden>)" if self._keys else "FixedKeys(anonymous)"


class Fetched(NamedTuple):
    """Keys and until when they may be used (seconds since the epoch) before they are fetched again."""

    keys: Keys
    use_until: float
    valid_until: float | None = None
    """When the keys themselves expire; None: not known."""

    def __repr__(self) -> str:
        return f"Fetched(<hidden>, use_until={self.use_until}, valid_until={self.valid_until})"


class RenewedKeys:
    """Keys fetched anew when their time is up, once for all threads.

    A failure to fetch does no harm while the old keys are known to be valid: they are used, and fetching is retried.
    """

    def __init__(self, fetch: Callable[[bool], Fetched], *, now: Callable[[], float] = time.time) -> None:
        """*fetch(anew)* gets keys; *anew*: what was fetched before has been refused as expired."""
        self._fetch = fetch
        self._now = now
        self._lock = threading.Lock()
        self._held: Fetched | None = None

    def current(self) -> Keys:
        """The current keys, or new ones when those expire."""
        held = self._held
        if held is not None and self._now() < held.use_until:
            return held.keys
        with self._lock:
            if self._held is None:
                self._held = self._fetch(False)
            elif self._now() >= self._held.use_until:
                self._held = self._renewed(self._held)
            return self._held.keys

    def _renewed(self, held: Fetched) -> Fetched:
        try:
            return self._fetch(False)
        except StoreError:
            now = self._now()
            if held.valid_until is None or now >= held.valid_until:
                raise
            return held._replace(use_until=min(now + RETRY_S, held.valid_until))

    def refresh(self, stale: Keys | None) -> bool:
        """Fetch anew unless another thread has already replaced *stale*."""
        with self._lock:
            if self._held is None or self._held.keys == stale:
                self._held = self._fetch(True)
            return self._held.keys != stale

    def __repr__(self) -> str:
        return "RenewedKeys(<hidden>)"


def resolve_credentials(
    reference: Mapping[str, Any], *, region: str = "us-east-1", environ: Mapping[str, str] = os.environ
) -> Credentials:
    """The credentials that *reference* names; the first keys are fetched at once, so that errors show early.

    Raises CredentialsRefused that says what was looked for, CredentialsMisconfigured for a malformed configuration,
    ConnectionFailed (RequestTimedOut, TlsRefused) when the source of the keys cannot be reached.
    """
    if reference.get("anonymous"):
        return FixedKeys(None)
    if "env" in reference:
        return FixedKeys(_from_environment(str(reference["env"]), environ))
    if "role_arn" in reference:
        credentials: RenewedKeys = _assumed_role(reference, region, environ)
    else:
        profile = reference.get("profile")
        credentials = _from_botocore(None if profile is None else str(profile))
    credentials.current()
    return credentials


def customer_key(name: str, environ: Mapping[str, str] = os.environ) -> bytes:
    """The SSE-C key in environment variable *name*: base64 of 32 bytes. Raises CredentialsRefused."""
    text = environ.get(name)
    if not text:
        raise CredentialsRefused(
            f"the SSE-C key was looked for in the environment variable {name}, which is not set; export it"
        )
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise CredentialsRefused(f"the environment variable {name} must hold base64 of a 32-byte SSE-C key")
    return key


def ca_bundle_named(environ: Mapping[str, str] = os.environ) -> str | None:
    """The certificate authorities' file named by AWS_CA_BUNDLE, or None."""
    return environ.get("AWS_CA_BUNDLE") or None


def proxy_named(origin: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The proxy's URL that the environment names for *origin*, as libcurl reads it: http_proxy (not HTTP_PROXY),
    https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY, but for the hosts in no_proxy or NO_PROXY.
    """
    scheme = origin.partition(":")[0]
    names = [f"{scheme}_proxy", "HTTPS_PROXY" if scheme == "https" else "", "all_proxy", "ALL_PROXY"]
    found = next((environ[name] for name in names if environ.get(name)), None)
    if found is None or _goes_direct(origin, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    return found


def _goes_direct(origin: str, listed: str) -> bool:
    """Whether *listed* has its host: as a name, which stands for names below it, too, an address, a network, or `*`."""
    host = (urlsplit(origin).hostname or "").rstrip(".")
    entries = re.split(r"[,\s]+", listed.lower())
    try:
        address = ip_address(host)
    except ValueError:
        return any(entry == "*" or f".{host}".endswith(f".{entry.strip('.')}") for entry in entries if entry.strip("."))
    return any(entry == "*" or address in _network(entry) for entry in entries)


def _network(text: str) -> IPv4Network | IPv6Network | tuple[()]:
    """The addresses that *text* stands for; none where it is something else."""
    try:
        return ip_network(re.sub(r"[\[\]]", "", text).rstrip("."), strict=False)
    except ValueError:
        return ()


def _from_environment(prefix: str, environ: Mapping[str, str]) -> Keys:
    names = [f"{prefix}_AWS_ACCESS_KEY_ID", f"{prefix}_AWS_SECRET_ACCESS_KEY"]
    missing = [name for name in names if not environ.get(name)]
    if missing:
        unset = f"variable {missing[0]} is not set; export it"
        if len(missing) > 1:
            unset = f"variables {' and '.join(missing)} are not set; export them"
        raise CredentialsRefused(f"credentials {{env: {prefix}}}: the environment {unset}")
    return Keys(environ[names[0]], environ[names[1]], environ.get(f"{prefix}_AWS_SESSION_TOKEN") or None)


def _from_botocore(profile: str | None) -> RenewedKeys:
    """botocore's default chain, or a named profile. botocore's own refreshing is kept."""
    holder: list[Any] = []

    def fetch(anew: bool) -> Fetched:
        try:
            if anew or not holder:
                # A new session, because that is the public way to make botocore forget what it has cached.
                holder[:] = [_botocore_credentials(profile)]
            frozen = holder[0].get_frozen_credentials()
        except Exception as error:  # a credential process, a parser, a broken service: anything may come through
            raise credential_failure(error, f"credentials {_label(profile)}") from error
        keys = Keys(frozen.access_key, frozen.secret_key, frozen.token)
        # botocore offers no other way; without it a failed renewal is an error at once.
        end = getattr(holder[0], "_expiry_time", None)
        valid_until = end.timestamp() if isinstance(end, datetime) else None
        return Fetched(keys, time.time() + RECHECK_S, valid_until)

    return RenewedKeys(fetch)


def _botocore_credentials(profile: str | None) -> Any:
    import botocore.session  # here and below: saves 70 ms of every start with keys from the environment

    found = botocore.session.Session(profile=profile).get_credentials()
    if found is None:
        raise CredentialsRefused(
            f"credentials {_label(profile)}: none found; looked in the environment (AWS_ACCESS_KEY_ID), the shared "
            "credentials and config files, SSO, web identity, and the container's and instance's metadata; set one of "
            "them, or name {profile: ...}, {env: ...} or {anonymous: true} in the declaration"
        )
    return found


def _label(profile: str | None) -> str:
    return "{} (default chain)" if profile is None else f"{{profile: {profile}}}"


def _assumed_role(reference: Mapping[str, Any], region: str, environ: Mapping[str, str]) -> RenewedKeys:
    source = resolve_credentials(reference.get("source") or {}, region=region, environ=environ)
    arn = str(reference["role_arn"])
    request: dict[str, Any] = {"RoleArn": arn, "RoleSessionName": ROLE_SESSION_NAME}
    if reference.get("external_id"):
        request["ExternalId"] = str(reference["external_id"])

    def fetch(anew: bool) -> Fetched:
        keys = source.current()
        if anew:
            source.refresh(keys)
            keys = source.current()
        if keys is None:
            raise CredentialsRefused(f"credentials {{role_arn: {arn}}}: an anonymous source cannot assume a role")
        try:
            return _call_assume_role(keys, request, region)
        except Exception as error:  # as above
            raise credential_failure(error, f"credentials {{role_arn: {arn}}}", "AssumeRole") from error

    return RenewedKeys(fetch)


def _call_assume_role(keys: Keys, request: Mapping[str, Any], region: str) -> Fetched:
    """The role's keys. Raises whatever botocore does."""
    import botocore.session

    client: Any = botocore.session.Session().create_client(
        "sts",
        region_name=region,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
    )
    try:
        answer = client.assume_role(**request)["Credentials"]
    finally:
        client.close()
    end = answer["Expiration"].timestamp()
    return Fetched(
        Keys(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"]), end - RENEW_BEFORE_S, end
    )
