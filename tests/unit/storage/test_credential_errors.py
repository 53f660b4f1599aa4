"""Whatever may be raised while keys are fetched has a leaf, an exit code that is not 1, and no secret in its words."""

from __future__ import annotations

import configparser
import http.client
import inspect
import json
import socket
import ssl
import string
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3.exceptions
import botocore.exceptions
import botocore.parsers
import pytest
import s3transfer.exceptions
import urllib3.exceptions

from schema import errors
from schema.errors import StoreError
from storage.credential_errors import credential_failure

MODULES = (botocore.exceptions, boto3.exceptions, s3transfer.exceptions, botocore.parsers, urllib3.exceptions)


def classes(module: ModuleType) -> Iterator[type[Exception]]:
    """Every exception class the module names."""
    for name, found in sorted(vars(module).items()):
        if inspect.isclass(found) and issubclass(found, Exception) and not name.startswith("_"):
            yield found


def instance(kind: type[Exception]) -> Exception:
    """One of *kind*, its message filled in."""
    fields = [name for _, name, _, _ in string.Formatter().parse(getattr(kind, "fmt", "")) if name]
    response = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    ways: tuple[dict[str, Any] | tuple[Any, ...], ...] = (
        {name: f"the {name}" for name in fields},
        {name: f"the {name}" for name in fields} | {"endpoint_url": "https://sts", "error": "broken"},
        (response, "AssumeRole"),
        ("broken",),
        ("pool", "url", "broken"),
        ("pool", "broken"),
        (1, 2),
        (("broken", "names"),),
        (),
    )
    for way in ways:
        try:
            return kind(**way) if isinstance(way, dict) else kind(*way)
        except Exception:  # noqa: S112  another way of making it
            continue
    return Exception.__new__(kind)


EVERY = list(dict.fromkeys(kind for module in MODULES for kind in classes(module)))


def test_the_walk_covers_botocores_tree() -> None:
    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))}

    of_botocore = {k for k in below(botocore.exceptions.BotoCoreError) if k.__module__ == "botocore.exceptions"}
    assert of_botocore <= set(EVERY)
    assert len(of_botocore) > 90


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_has_a_leaf_and_an_exit_code(kind: type[Exception]) -> None:
    error = credential_failure(instance(kind), "credentials {profile: old}")
    assert isinstance(error, StoreError)
    assert error.exit_code in {68, 69, 76, 77, 78}
    assert "credentials {profile: old}" in str(error)
    assert isinstance(error.retryable, bool)


LEAVES: list[tuple[Exception, type[StoreError], str]] = [
    (botocore.exceptions.ProfileNotFound(profile="old"), errors.CredentialsRefused, "check its name"),
    (botocore.exceptions.ConfigParseError(path="/x"), errors.CredentialsMisconfigured, "~/.aws/config"),
    (botocore.exceptions.InvalidConfigError(error_msg="loop"), errors.CredentialsMisconfigured, "loop"),
    (botocore.exceptions.InvalidRegionError(region_name="ü"), errors.CredentialsMisconfigured, "ü"),
    (botocore.exceptions.NoRegionError(), errors.CredentialsMisconfigured, "region"),
    (botocore.exceptions.UnauthorizedSSOTokenError(), errors.CredentialsRefused, "aws sso login"),
    (botocore.exceptions.SSOTokenLoadError(error_msg="gone"), errors.CredentialsRefused, "aws sso login"),
    (botocore.exceptions.LoginRefreshRequired(), errors.CredentialsRefused, "aws login"),
    (botocore.exceptions.RefreshWithMFAUnsupportedError(), errors.CredentialsRefused, "MFA"),
    (EOFError(), errors.CredentialsRefused, "MFA"),
    (
        botocore.exceptions.EndpointConnectionError(endpoint_url="https://sts", error="x"),
        errors.ConnectionFailed,
        "sts",
    ),
    (botocore.exceptions.ConnectTimeoutError(endpoint_url="https://sts"), errors.RequestTimedOut, "sts"),
    (botocore.exceptions.ReadTimeoutError(endpoint_url="https://sts"), errors.RequestTimedOut, "sts"),
    (botocore.exceptions.SSLError(endpoint_url="https://sts", error="expired"), errors.TlsRefused, "expired"),
    (botocore.exceptions.MetadataRetrievalError(error_msg="IMDS"), errors.ConnectionFailed, "IMDS"),
    (
        botocore.exceptions.CredentialRetrievalError(provider="custom-process", error_msg="exit 3"),
        errors.CredentialsRefused,
        "exit 3",
    ),
    (FileNotFoundError(2, "No such file or directory", "helper"), errors.CredentialsMisconfigured, "helper"),
    (PermissionError(13, "Permission denied", "helper"), errors.CredentialsMisconfigured, "helper"),
    (socket.gaierror(-2, "Name or service not known"), errors.ConnectionFailed, "not known"),
    (ConnectionResetError(104, "reset by peer"), errors.ConnectionFailed, "reset"),
    (TimeoutError(), errors.RequestTimedOut, "TimeoutError"),
    (ssl.SSLCertVerificationError("self-signed"), errors.TlsRefused, "self-signed"),
    (OSError(5, "Input/output error"), errors.ConnectionFailed, "Input/output"),
    (http.client.RemoteDisconnected("gone"), errors.ConnectionFailed, "gone"),
    (configparser.MissingSectionHeaderError("f", 1, "line"), errors.CredentialsRefused, "cannot be understood"),
    (RuntimeError("still expired"), errors.CredentialsRefused, "RuntimeError"),
]


@pytest.mark.parametrize(("raised", "leaf", "word"), LEAVES, ids=lambda value: getattr(value, "__name__", None))
def test_the_leaf_and_what_to_do(raised: Exception, leaf: type[StoreError], word: str) -> None:
    error = credential_failure(raised, "credentials {}")
    assert type(error) is leaf
    assert word in str(error)


SERVICE: list[tuple[str, int, type[StoreError]]] = [
    ("AccessDenied", 403, errors.CredentialsRefused),
    ("InvalidIdentityToken", 400, errors.CredentialsRefused),
    ("ExpiredTokenException", 400, errors.CredentialsExpired),
    ("ExpiredToken", 403, errors.CredentialsExpired),
    ("SignatureDoesNotMatch", 403, errors.CredentialsRefused),
    ("RequestTimeTooSkewed", 403, errors.ClockSkewed),
    ("Throttling", 400, errors.ConnectionFailed),
    ("IDPCommunicationError", 400, errors.ConnectionFailed),
    ("InternalFailure", 500, errors.ConnectionFailed),
    ("", 503, errors.ConnectionFailed),
    ("", 0, errors.CredentialsRefused),
]


@pytest.mark.parametrize(("code", "status", "leaf"), SERVICE)
def test_what_sts_answers(code: str, status: int, leaf: type[StoreError]) -> None:
    response = {"Error": {"Code": code, "Message": "its reason"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = credential_failure(botocore.exceptions.ClientError(response, "AssumeRole"), "credentials {role_arn: r}")  # type: ignore[arg-type]
    assert type(error) is leaf
    assert "its reason" in str(error) and "AssumeRole" in str(error)
    assert (error.code, error.status) == (code, status)


def test_an_answer_of_nonsense_has_a_leaf_too() -> None:
    error = credential_failure(botocore.exceptions.ClientError({}, "AssumeRole"), "credentials {}")
    assert error.exit_code == 77


def test_what_a_credential_process_printed_is_not_quoted() -> None:
    try:
        json.loads('{"SecretAccessKey": "canary-secret"')
    except ValueError as raised:
        assert "canary" not in str(credential_failure(raised, "credentials {profile: x}"))
    assert "canary" not in str(credential_failure(KeyError("canary"), "credentials {profile: x}"))


def test_a_store_error_passes_as_it_is() -> None:
    error = errors.CredentialsRefused("as it is")
    assert credential_failure(error, "credentials {}") is error


def test_the_process_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing") as caught:
        (tmp_path / "nothing").read_text()
    assert "nothing" in str(credential_failure(caught.value, "credentials {}"))
