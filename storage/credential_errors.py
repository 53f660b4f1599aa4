"""The border where whatever goes wrong while keys are fetched becomes a leaf of schema.errors.StoreError.

Credentials come from files, programs, STS, SSO, web identity and the metadata services of containers and machines, by
way of botocore, which lets through errors of its own, of the operating system, of its parsers and of what it calls.
They are recognised by the names of their classes and base classes, so that nothing needs to be imported to tell them
apart. Any other error becomes a refusal: it says what was tried and is never a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from schema.errors import (
    ClockSkewed,
    ConnectionFailed,
    CredentialsExpired,
    CredentialsMisconfigured,
    CredentialsRefused,
    RequestTimedOut,
    ResponseUnreadable,
    StoreError,
    TlsRefused,
)

_LEAVES: tuple[tuple[type[StoreError], tuple[str, ...]], ...] = (
    (TlsRefused, ("SSLError", "SSLCertVerificationError", "CertificateError")),
    (RequestTimedOut, ("ReadTimeoutError", "ConnectTimeoutError", "TimeoutError")),
    (
        ConnectionFailed,
        (
            *("ConnectionError", "HTTPClientError", "ProxyConnectionError", "ResponseStreamingError"),
            *("MetadataRetrievalError", "CapacityNotAvailableError", "HTTPError", "HTTPException"),
        ),
    ),
    (
        ResponseUnreadable,
        ("IncompleteReadError", "ChecksumError", "FlexibleChecksumError", "ResponseParserError", "PaginationError"),
    ),
    (
        CredentialsMisconfigured,
        (
            *("ConfigParseError", "ConfigNotFound", "InvalidConfigError", "InvalidEndpointConfigurationError"),
            *("InvalidRetryConfigurationError", "InvalidDefaultsMode", "InvalidProxiesConfigError"),
            *("InvalidS3UsEast1RegionalEndpointConfigError", "InvalidSTSRegionalEndpointsConfigError"),
            *("InvalidEndpointDiscoveryConfigurationError", "InvalidChecksumConfigError"),
            *("InvalidS3AddressingStyleError", "InvalidIMDSEndpointError", "InvalidIMDSEndpointModeError"),
            *("UnknownCredentialError", "UnknownTokenProviderError", "MissingDependencyException"),
            *("BaseEndpointResolverError", "EndpointProviderError", "UnknownRegionError", "ServiceNotInRegionError"),
            *("DataNotFoundError", "ApiVersionNotFoundError", "ParamValidationError", "ValidationError"),
            *("MissingParametersError", "UnknownSignatureVersionError", "UnsupportedSignatureVersionError"),
            *("InvalidHostLabelError", "InvalidDNSNameError", "MD5UnavailableError", "ConfigParserError"),
            *("FileNotFoundError", "PermissionError", "NotADirectoryError", "IsADirectoryError", "UnicodeError"),
        ),
    ),
    (CredentialsRefused, ("BotoCoreError", "EOFError", "GetPassWarning")),
    (ConnectionFailed, ("OSError",)),
)
_BY_NAME = {name: leaf for leaf, names in _LEAVES for name in names}

_PASSING = re.compile(
    r"Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|ServiceUnavailable|InternalFailure|InternalError|"
    r"InternalServer|IDPCommunicationError|PriorRequestNotComplete|RequestTimeout|RegionDisabledTemporarily",
)
_EXPIRED = re.compile(r"Expired|InvalidToken|TokenRefreshRequired")
_SKEWED = re.compile(r"Skewed|NotYetCurrent|^SignatureExpired|Signature (?:expired|not yet current)")
_MOST_WORDS = 400

_ADVICE: dict[str, str] = {
    "ProfileNotFound": "check its name and AWS_CONFIG_FILE, or name another in credentials: {profile: ...}",
    "UnauthorizedSSOTokenError": "renew the session with `aws sso login`",
    "SSOTokenLoadError": "begin a session with `aws sso login`",
    "LoginError": "renew the session with `aws login`",
    "RefreshWithMFAUnsupportedError": "get session keys with MFA before the run, and name them with {env: ...}",
    "EOFError": "it asks for an MFA code, and there is no terminal to type it at: get session keys with MFA before the "
    "run, and name them with {env: ...}",
}
_ADVICE_BY_LEAF: dict[type[StoreError], str] = {
    CredentialsMisconfigured: "fix the AWS configuration (~/.aws/config, AWS_CONFIG_FILE, AWS_*) and run again",
    CredentialsExpired: "renew the session and run again",
    ClockSkewed: "set this machine's clock (NTP)",
}


def credential_failure(error: Exception, what: str, operation: str = "GetCredentials") -> StoreError:
    """The leaf for *error*, raised while *what* (such as 'credentials {profile: x}') was being fetched.

    A StoreError is passed on as it is. Transient errors are retryable. No secret is quoted: of errors that are
    none of botocore's or the system's only the class is named.
    """
    if isinstance(error, StoreError):
        return error
    if hasattr(error, "response") and isinstance(error.response, Mapping):
        return _refused_by_service(error, error.response, what)
    names = [kind.__name__ for kind in type(error).__mro__]
    leaf = next((_BY_NAME[name] for name in names if name in _BY_NAME), CredentialsRefused)
    advice = next((_ADVICE[name] for name in names if name in _ADVICE), _ADVICE_BY_LEAF.get(leaf))
    words = f"{what} could not be obtained: {_told(error, names)}"
    return leaf(f"{words}; {advice}" if advice else words, operation=operation)


def _refused_by_service(error: Exception, response: Mapping[str, Any], what: str) -> StoreError:
    """STS, SSO or their like answered with an error: its code decides, its words are shown."""
    said = response.get("Error")
    said = said if isinstance(said, Mapping) else {}
    code, words = str(said.get("Code", "")), str(said.get("Message", ""))
    metadata = response.get("ResponseMetadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    status = metadata.get("HTTPStatusCode", 0)
    status = status if isinstance(status, int) else 0
    asked = str(getattr(error, "operation_name", "") or "the service")
    leaf: type[StoreError] = CredentialsRefused
    if status == 429 or status >= 500 or _PASSING.search(code):
        leaf = ConnectionFailed
    elif _SKEWED.search(code) or _SKEWED.search(words):
        leaf = ClockSkewed
    elif _EXPIRED.search(code):
        leaf = CredentialsExpired
    reason = f"{code} ({_short(words)})" if words else code or f"HTTP {status}"
    advice = _ADVICE_BY_LEAF.get(leaf, "check the role's trust policy, its external_id and the keys that assume it")
    told = f"{what}: {asked} was refused: {reason}"
    if leaf is ConnectionFailed:
        told = f"{what}: {asked} is unavailable now: {reason}"
        advice = "it will be tried again"
    request_id = str(metadata.get("RequestId", ""))
    return leaf(f"{told}; {advice}", operation=asked, status=status, code=code, request_id=request_id)


def _told(error: Exception, names: list[str]) -> str:
    """What *error* says, where its class is known to quote no answer: a credential process's output holds secrets."""
    known = {"BotoCoreError", "OSError", "Boto3Error"}
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError):
        named = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return _short(f"{named}{error.strerror}")
    if "EOFError" in names:
        return "no input"
    if not known.intersection(names):
        return f"an answer that cannot be understood ({names[0]})"
    return _short(str(error)) or names[0]


def _short(words: str) -> str:
    text = " ".join(words.split())
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}..."
