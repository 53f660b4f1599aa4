"""The one error tree.

MigrationError                       something the operator can act on; anything else is a bug
├── UsageError             64        words on the command line
├── DeclarationError       65        migration.yaml is malformed or contradicts itself
├── InputMissing           66        a named file is not there
├── LocalDiskError         74        the local disk is full or read-only
├── LedgerError
│   ├── LedgerUnavailable  69        PostgreSQL cannot be reached (retryable)
│   ├── LedgerSchemaError  78        the ledger's schema is older or newer than this build
│   └── LeaseLost           1        another worker owns the chunk now; drop the local work
├── FinishedWithFailures    3
├── StalePlan               4
├── IntegrityRefused        5
│   ├── PlanCorrupt                  schema, plan_id, sums, DAG
│   ├── ManifestCorrupt              digest, order, count
│   └── ManifestMissing
├── LockHeld                6
├── NotApproved             7        other plan id than expected, loss not accepted
├── GuardExceeded           7
├── VerifyFailed            8
├── Stopped                75        drained on request; run again to go on
└── StoreError                       an S3 endpoint said no; `retryable` and `scope` answered by every leaf
"""

from __future__ import annotations

from copy import copy
from enum import Enum
from typing import ClassVar, Self


class MigrationError(Exception):
    """Something the operator can act on. Anything else is a bug and keeps its traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(MigrationError):
    """The command line does not make sense."""

    exit_code = 64


class DeclarationError(MigrationError):
    """The declaration is malformed; the message lists every complaint with path and line."""

    exit_code = 65


class InputMissing(MigrationError):
    """A file named on the command line does not exist or cannot be read."""

    exit_code = 66


class LocalDiskError(MigrationError):
    """The local disk is full, read-only or broken."""

    exit_code = 74


class LedgerError(MigrationError):
    """The ledger said no."""

    exit_code = 69
    retryable: ClassVar[bool]


class LedgerUnavailable(LedgerError):
    """PostgreSQL cannot be reached, or is restarting, full or out of connections. Waiting helps."""

    retryable = True


class LedgerSchemaError(LedgerError):
    """The ledger's schema is not one this build can use."""

    exit_code = 78
    retryable = False


class LeaseLost(LedgerError):
    """The chunk is held under another lease now; whatever was done locally must be dropped."""

    exit_code = 1
    retryable = False


class FinishedWithFailures(MigrationError):
    """The run ended, but some objects failed, drifted or are parked."""

    exit_code = 3


class StalePlan(MigrationError):
    """The plan is older than what has been accepted, or the world has moved."""

    exit_code = 4


class IntegrityRefused(MigrationError):
    """A document is not what it claims to be."""

    exit_code = 5


class PlanCorrupt(IntegrityRefused):
    """The plan does not parse, does not match its schema, its plan_id, its sums or its DAG."""


class ManifestCorrupt(IntegrityRefused):
    """A manifest's bytes, line count or order are not what the plan says."""


class ManifestMissing(IntegrityRefused):
    """A manifest named by the plan cannot be found."""


class LockHeld(MigrationError):
    """Another plan holds the destination scope."""

    exit_code = 6


class NotApproved(MigrationError):
    """This is not the plan that was approved, or it has losses the declaration does not accept."""

    exit_code = 7


class GuardExceeded(MigrationError):
    """The plan does more than its guards allow."""

    exit_code = 7


class VerifyFailed(MigrationError):
    """Source and destination differ, or a key is unaccounted for."""

    exit_code = 8


class Stopped(MigrationError):
    """The run was drained on request and can be resumed."""

    exit_code = 75


class Scope(Enum):
    """Whom a store error concerns."""

    OBJECT = "object"
    """One object; the run goes on."""
    RUN = "run"
    """Every object; the run stops, resumably, with one message."""


class StoreError(MigrationError):
    """An S3 endpoint refused or failed.

    `operation` is the S3 operation's name, `key` the key concerned (unescaped), `status` the HTTP
    status (0: none received), `code` the S3 error code, `retry_after` seconds the server asked for,
    `endpoint` the name under which the endpoint is observed ("": nobody observed it, or both sides are concerned).
    """

    retryable: ClassVar[bool]
    scope: ClassVar[Scope] = Scope.OBJECT

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        key: str = "",
        status: int = 0,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.key = key
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.endpoint = ""

    def explained(self, text: str) -> Self:
        """The same error with *text* after its message."""
        twin = copy(self)
        twin.args = (f"{self}; {text}",)
        return twin


class Throttled(StoreError):
    """The endpoint asks for fewer requests (503 SlowDown, 429).

    Fails an object only when it goes on for that object alone while others are served.
    """

    retryable = True


class ServerFault(StoreError):
    """The endpoint failed inside (500, 502, 504, 200 with an error body). A write may have happened."""

    retryable = True


class ConnectionFailed(StoreError):
    """No connection, DNS failure, reset. A write may have happened."""

    exit_code = 69
    retryable = True


class DescriptorsExhausted(StoreError):
    """This process may open no more files and connections: a limit of this machine, not of the endpoint."""

    exit_code = 71
    retryable = True


def descriptors_exhausted(what: str, *, operation: str = "", key: str = "") -> DescriptorsExhausted:
    """*what* failed because this process has as much open as it may."""
    return DescriptorsExhausted(
        f"{what}: this process has as many files and connections open as this machine lets it; "
        "raise the limit (ulimit -n), or declare fewer limits.workers",
        operation=operation,
        key=key,
    )


class RequestTimedOut(StoreError):
    """No answer, or bytes too slow. A write may have happened."""

    exit_code = 69
    retryable = True


class ResponseUnreadable(StoreError):
    """The answer was cut short, too long, or not what the protocol promises."""

    exit_code = 76
    retryable = True


class DigestMismatch(StoreError):
    """Bytes changed on the way; nothing bad was published."""

    retryable = True


class CredentialsExpired(StoreError):
    """The session token is no longer valid; a refresh may help."""

    exit_code = 77
    retryable = True
    scope = Scope.RUN


class CredentialsRefused(StoreError):
    """The access key or the signature is wrong."""

    exit_code = 77
    retryable = False
    scope = Scope.RUN


class ClockSkewed(StoreError):
    """This machine's clock is too far from the server's."""

    exit_code = 77
    retryable = False
    scope = Scope.RUN


class TlsRefused(StoreError):
    """The server's certificate does not verify."""

    exit_code = 77
    retryable = False
    scope = Scope.RUN


class BucketMissing(StoreError):
    """No such bucket."""

    exit_code = 68
    retryable = False
    scope = Scope.RUN


class WrongRegion(StoreError):
    """The bucket lives in another region than declared, or the endpoint redirects elsewhere."""

    exit_code = 68
    retryable = False
    scope = Scope.RUN


class StorageFull(StoreError):
    """The destination's quota or disk is full."""

    exit_code = 69
    retryable = False
    scope = Scope.RUN


class AccessRefused(StoreError):
    """403 AccessDenied."""

    exit_code = 77
    retryable = False


class ObjectMissing(StoreError):
    """404: the key or version is not there."""

    retryable = False


class ObjectChanged(StoreError):
    """The source is no longer the object the plan saw (412, other ETag, other length)."""

    retryable = False


class DestinationChanged(StoreError):
    """The destination is not what the plan saw (412 on a guarded write), or our own lost success."""

    retryable = False


class ObjectArchived(StoreError):
    """The object must be restored before it can be read."""

    retryable = False


class FeatureUnsupported(StoreError):
    """The endpoint does not implement what was asked."""

    retryable = False


class ObjectRefused(StoreError):
    """The endpoint will never accept this object as it is (key too long, metadata too large...)."""

    retryable = False


class UploadMissing(StoreError):
    """NoSuchUpload: completed, aborted, or never there."""

    retryable = False


class UploadConflicted(StoreError):
    """409 on Complete: the upload must be started anew."""

    retryable = False


class PartRefused(StoreError):
    """InvalidPart: the server does not hold the part we name."""

    retryable = False


class ListingRefused(StoreError):
    """A listing that cannot be trusted: wrong bucket, no IsTruncated, no token, token loop, not XML."""

    exit_code = 76
    retryable = False
    scope = Scope.RUN


class ListingUnordered(ListingRefused):
    """The listing turned out not to ascend after keys had been handed out. List again, from the beginning."""
