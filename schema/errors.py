"""The one error tree.

MigrationError                       something the operator can act on; anything else is a bug
├── UsageError                       words on the command line
├── DeclarationError                 migration.yaml is malformed or contradicts itself
├── InputMissing                     a named file is not there
├── LocalDiskError                   the local disk is full or read-only
├── LedgerError
│   ├── LedgerUnavailable            PostgreSQL cannot be reached (retryable)
│   ├── LedgerSchemaError            the ledger's schema is older or newer than this build
│   └── LeaseLost                    another worker owns the chunk now; drop the local work
├── FinishedWithFailures
├── StalePlan
├── IntegrityRefused
│   ├── PlanCorrupt                  schema, plan_id, sums, DAG
│   ├── ManifestCorrupt              digest, order, count
│   ├── ManifestMissing
│   ├── InventoryCorrupt             an S3 Inventory report or key list: checksum, columns, rows
│   └── CertificateCorrupt           digest, order or count of a certificate
├── LockHeld
├── NotApproved                      other plan id than expected, loss not accepted
├── GuardExceeded
├── Unexpected                       the plan is not of the size, cost or time that the declaration expects
├── VerifyFailed
├── Stopped                          drained on request; run again to go on
├── RunUnfinished                    a run that goes on cannot be certified
├── KeyUnknown                       `explain`, `prove`: the key is in no manifest of the plan, in no certificate
└── StoreError                       an S3 endpoint said no; `retryable`, `scope` and an exit code of its own are
                                     answered by every leaf, the side it speaks of by every error
"""

from __future__ import annotations

from copy import copy
from enum import Enum
from typing import ClassVar, Self

from schema.exit_codes import ExitCode


class MigrationError(Exception):
    """Something the operator can act on. Anything else is a bug and keeps its traceback."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED


class UsageError(MigrationError):
    """The command line does not make sense."""

    exit_code = ExitCode.USAGE


class DeclarationError(MigrationError):
    """The declaration is malformed; the message lists every complaint with path and line."""

    exit_code = ExitCode.DECLARATION


class InputMissing(MigrationError):
    """A file named on the command line does not exist or cannot be read."""

    exit_code = ExitCode.INPUT_MISSING


class KeyUnknown(MigrationError):
    """A key that was asked about is in no manifest of the plan, or in no certificate."""

    exit_code = ExitCode.INPUT_MISSING


class LocalDiskError(MigrationError):
    """The local disk is full, read-only or broken."""

    exit_code = ExitCode.LOCAL_DISK


class LedgerError(MigrationError):
    """The ledger said no."""

    exit_code = ExitCode.UNREACHABLE
    retryable: ClassVar[bool]


class LedgerUnavailable(LedgerError):
    """PostgreSQL cannot be reached, or is restarting, full or out of connections. Waiting helps."""

    retryable = True


class LedgerSchemaError(LedgerError):
    """The ledger's schema is not one this build can use."""

    exit_code = ExitCode.LEDGER_UNFIT
    retryable = False


class LeaseLost(LedgerError):
    """The chunk is held under another lease now; whatever was done locally must be dropped."""

    exit_code = ExitCode.UNEXPECTED
    retryable = False


class FinishedWithFailures(MigrationError):
    """The run ended, but some objects failed, drifted or are parked."""

    exit_code = ExitCode.FAILURES


class StalePlan(MigrationError):
    """The plan is older than what has been accepted, or the world has moved."""

    exit_code = ExitCode.STALE


class IntegrityRefused(MigrationError):
    """A document is not what it claims to be."""

    exit_code = ExitCode.CORRUPT


class PlanCorrupt(IntegrityRefused):
    """The plan does not parse, does not match its schema, its plan_id, its sums or its DAG."""


class ManifestCorrupt(IntegrityRefused):
    """A manifest's bytes, line count or order are not what the plan says."""


class ManifestMissing(IntegrityRefused):
    """A manifest named by the plan cannot be found."""


class InventoryCorrupt(IntegrityRefused):
    """An S3 Inventory report or a key list is damaged, of another bucket, or lacks what planning needs."""


class CertificateCorrupt(IntegrityRefused):
    """The files of a certificate do not match."""


class LockHeld(MigrationError):
    """Another plan holds the destination scope."""

    exit_code = ExitCode.LOCK_HELD


class NotApproved(MigrationError):
    """This is not the plan that was approved, or it has losses the declaration does not accept."""

    exit_code = ExitCode.NOT_APPROVED


class GuardExceeded(MigrationError):
    """The plan does more than its guards allow."""

    exit_code = ExitCode.NOT_APPROVED


class Unexpected(MigrationError):
    """What was listed or estimated is not what the declaration expects."""

    exit_code = ExitCode.NOT_APPROVED


class VerifyFailed(MigrationError):
    """Source and destination differ, or a key is unaccounted for."""

    exit_code = ExitCode.DIFFERENCES


class Stopped(MigrationError):
    """The run was drained on request and can be resumed."""

    exit_code = ExitCode.STOPPED


class RunPaused(Stopped):
    """A person paused the run; it goes on when one resumes it."""


class RunClosed(Stopped):
    """The run's calendar is closed now; the run continues when it opens."""


class RunUnfinished(MigrationError):
    """The question can only be answered for a run that has ended."""

    exit_code = ExitCode.STOPPED


class Scope(Enum):
    """Whom a store error concerns."""

    OBJECT = "object"
    """One object; the run goes on."""
    RUN = "run"
    """Every object; the run stops, resumably, with one message."""


class WhichSide(Enum):
    """At which end of a pair an error arose."""

    SOURCE = "source"
    DESTINATION = "destination"
    UNKNOWN = "unknown"
    """Unknown: nothing may be concluded about either end."""


class StoreError(MigrationError):
    """An S3 endpoint refused or failed.

    `side` is the end of the pair the error is about: a copy requested from the destination that does not find its
    source is about the source. `operation` is the S3 operation's name, `key` the key concerned (unescaped), `status`
    the HTTP status (0: none received), `code` the S3 error code, `retry_after` seconds the server asked for, `endpoint`
    the name under which the endpoint is observed ("": nobody observed it, or both sides are concerned).
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
        side: WhichSide = WhichSide.UNKNOWN,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.key = key
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.side = side
        self.endpoint = ""

    def retold(self, message: str) -> Self:
        """The same error, with its facts, under another message."""
        twin = copy(self)
        twin.args = (message,)
        return twin

    def explained(self, text: str) -> Self:
        """The same error with *text* after its message."""
        return self.retold(f"{self}; {text}")


class Throttled(StoreError):
    """The endpoint asks for fewer requests (503 SlowDown, 429).

    Fails an object only when it goes on for that object alone while others are served.
    """

    exit_code = ExitCode.UNREACHABLE
    retryable = True


class ServerFault(StoreError):
    """The endpoint failed inside (500, 502, 504, 200 with an error body). A write may have happened."""

    exit_code = ExitCode.UNREACHABLE
    retryable = True


class ConnectionFailed(StoreError):
    """No connection, DNS failure, reset. A write may have happened."""

    exit_code = ExitCode.UNREACHABLE
    retryable = True


class EndpointUnreachable(ConnectionFailed):
    """The host's name does not resolve, or nothing listens at its port: nothing was sent, nothing was written."""


class DescriptorsExhausted(StoreError):
    """This process may open no more files and connections: a limit of this machine, not of the endpoint."""

    exit_code = ExitCode.DESCRIPTORS
    retryable = True


def descriptors_exhausted(what: str, *, operation: str = "", key: str = "") -> DescriptorsExhausted:
    """The error of *what* failing because this process has as many descriptors open as it may."""
    return DescriptorsExhausted(
        f"{what}: this process has as many files and connections open as its limit allows; "
        "raise the limit (ulimit -n), or declare fewer limits.workers",
        operation=operation,
        key=key,
    )


class RequestTimedOut(StoreError):
    """No answer, or bytes too slow. A write may have happened."""

    exit_code = ExitCode.UNREACHABLE
    retryable = True


class ResponseUnreadable(StoreError):
    """The answer was cut short, too long, or not what the protocol promises."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = True


class DigestMismatch(StoreError):
    """Bytes changed on the way; nothing bad was published."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = True


class CredentialsExpired(StoreError):
    """The session token is no longer valid; a refresh may help."""

    exit_code = ExitCode.REFUSED
    retryable = True
    scope = Scope.RUN


class CredentialsRefused(StoreError):
    """The access key or the signature is wrong."""

    exit_code = ExitCode.REFUSED
    retryable = False
    scope = Scope.RUN


class ClockSkewed(StoreError):
    """This machine's clock is too far from the server's."""

    exit_code = ExitCode.REFUSED
    retryable = False
    scope = Scope.RUN


class TlsRefused(StoreError):
    """The server's certificate does not verify."""

    exit_code = ExitCode.REFUSED
    retryable = False
    scope = Scope.RUN


class BucketMissing(StoreError):
    """No such bucket."""

    exit_code = ExitCode.WRONG_BUCKET
    retryable = False
    scope = Scope.RUN


class WrongRegion(StoreError):
    """The bucket lives in another region than declared, or the endpoint redirects elsewhere."""

    exit_code = ExitCode.WRONG_BUCKET
    retryable = False
    scope = Scope.RUN


class WrongScheme(StoreError):
    """http:// to a port that speaks TLS, or https:// to one that does not."""

    exit_code = ExitCode.WRONG_BUCKET
    retryable = False
    scope = Scope.RUN


class CredentialsMisconfigured(StoreError):
    """The configuration of where keys come from is malformed: ~/.aws/config, a credential process, a region."""

    exit_code = ExitCode.LEDGER_UNFIT
    retryable = False
    scope = Scope.RUN


class AllowanceSpent(StoreError):
    """The account's cap on reads, traffic or requests is reached; waiting does not help."""

    exit_code = ExitCode.UNREACHABLE
    retryable = False
    scope = Scope.RUN


class UnsignedPayloadRefused(StoreError):
    """The endpoint requires a signed SHA-256 of the body, and this body cannot be hashed before it is sent."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = False


class StorageFull(StoreError):
    """The destination's quota or disk is full."""

    exit_code = ExitCode.UNREACHABLE
    retryable = False
    scope = Scope.RUN


class AccessRefused(StoreError):
    """403 AccessDenied."""

    exit_code = ExitCode.REFUSED
    retryable = False


class ObjectMissing(StoreError):
    """404: the key or version is not there."""

    exit_code = ExitCode.WRONG_BUCKET
    retryable = False


class ObjectChanged(StoreError):
    """The source is no longer the object the plan saw (412, other ETag, other length)."""

    exit_code = ExitCode.STALE
    retryable = False


class DestinationChanged(StoreError):
    """The destination is not what the plan saw (412 on a guarded write), or our own lost success."""

    exit_code = ExitCode.STALE
    retryable = False


class ObjectArchived(StoreError):
    """The object must be restored before it can be read."""

    exit_code = ExitCode.UNREACHABLE
    retryable = False


class FeatureUnsupported(StoreError):
    """The endpoint does not implement what was asked."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = False


class ObjectRefused(StoreError):
    """The endpoint will never accept this object as it is (key too long, metadata too large...)."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = False


class UploadMissing(StoreError):
    """NoSuchUpload: completed, aborted, or never there."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = False


class UploadConflicted(StoreError):
    """409 on Complete: the upload must be started anew."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = False


class PartRefused(StoreError):
    """InvalidPart: the server does not hold a part that was named."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = False


class ListingRefused(StoreError):
    """A listing that cannot be trusted: wrong bucket, no IsTruncated, no token, token loop, not XML."""

    exit_code = ExitCode.UNTRUSTWORTHY
    retryable = False
    scope = Scope.RUN


class ListingUnordered(ListingRefused):
    """The listing turned out not to ascend after keys had been handed out. List again, from the beginning."""
