"""S3 error codes, HTTP statuses and faults of the exchange, each with the leaf of StoreError it means on its own.

Sources: AWS's list of S3 error codes, MinIO's api-errors. What depends on the call is decided in
errors.py.
"""

from __future__ import annotations

from schema.errors import (
    AccessRefused,
    BucketMissing,
    ClockSkewed,
    ConnectionFailed,
    CredentialsExpired,
    CredentialsRefused,
    DigestMismatch,
    EndpointUnreachable,
    FeatureUnsupported,
    ObjectArchived,
    ObjectMissing,
    ObjectRefused,
    PartRefused,
    RequestTimedOut,
    ResponseUnreadable,
    ServerFault,
    StorageFull,
    StoreError,
    Throttled,
    TlsRefused,
    UploadMissing,
    WrongRegion,
)
from storage.wire.exchange import Fault

BY_CODE: dict[str, type[StoreError]] = {
    **dict.fromkeys(
        (
            "SlowDown",
            "SlowDownRead",
            "SlowDownWrite",
            "ServiceUnavailable",
            "ServerBusy",
            "TooManyRequests",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "BandwidthLimitExceeded",
            "LimitExceededException",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "KMS.ThrottlingException",
        ),
        Throttled,
    ),
    **dict.fromkeys(
        (
            "InternalError",
            "InternalServerError",
            "OperationAborted",
            "IncompleteBody",
            "XMinioServerNotInitialized",
            "PriorRequestNotComplete",
            "TransactionInProgressException",
        ),
        ServerFault,
    ),
    **dict.fromkeys(("RequestTimeout", "RequestTimeoutException"), RequestTimedOut),
    "ClientDisconnected": ConnectionFailed,
    **dict.fromkeys(
        (
            "BadDigest",
            "InvalidDigest",
            "XAmzContentSHA256Mismatch",
            "XAmzContentChecksumMismatch",
            "ContentSHA256Mismatch",
            "ChecksumMismatch",
        ),
        DigestMismatch,
    ),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "InvalidToken"),
        CredentialsExpired,
    ),
    "RequestTimeTooSkewed": ClockSkewed,
    **dict.fromkeys(
        (
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidSecurity",
            "AllAccessDisabled",
            "AccountProblem",
            "NotSignedUp",
            "MissingSecurityHeader",
            "MissingAuthenticationToken",
        ),
        CredentialsRefused,
    ),
    "NoSuchBucket": BucketMissing,
    "InvalidBucketName": BucketMissing,
    **dict.fromkeys(
        (
            "PermanentRedirect",
            "TemporaryRedirect",
            "Redirect",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
        ),
        WrongRegion,
    ),
    **dict.fromkeys(
        (
            "XMinioStorageFull",
            "QuotaExceeded",
            "XMinioAdminBucketQuotaExceeded",
            "InsufficientStorage",
            "InsufficientCapacity",
            "InsufficientStorageSpace",
        ),
        StorageFull,
    ),
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "Forbidden", "KMS.DisabledException"), AccessRefused),
    **dict.fromkeys(
        ("KMS.NotFoundException", "KMS.KMSInvalidStateException", "KMS.AccessDeniedException"), AccessRefused
    ),
    **dict.fromkeys(
        ("NoSuchKey", "NoSuchVersion", "NoSuchTagSet", "NotFound", "NoSuchObject", "ObjectNotFound", "KeyNotFound"),
        ObjectMissing,
    ),
    **dict.fromkeys(("InvalidObjectState", "ObjectNotInActiveTierError", "RestoreAlreadyInProgress"), ObjectArchived),
    **dict.fromkeys(
        (
            "NotImplemented",
            "InvalidArgument",
            "InvalidRequest",
            "AccessControlListNotSupported",
            "InvalidStorageClass",
            "InvalidEncryptionAlgorithmError",
            "InvalidBucketState",
            "XMinioObjectExistsAsDirectory",
            "UnsupportedOperation",
        ),
        FeatureUnsupported,
    ),
    **dict.fromkeys(
        (
            "KeyTooLongError",
            "MetadataTooLarge",
            "InvalidTag",
            "EntityTooLarge",
            "EntityTooSmall",
            "InvalidURI",
            "MaxMessageLengthExceeded",
            "RequestHeaderSectionTooLarge",
            "XMinioInvalidObjectName",
            "MalformedXML",
        ),
        ObjectRefused,
    ),
    "NoSuchUpload": UploadMissing,
    **dict.fromkeys(("InvalidPart", "InvalidPartOrder"), PartRefused),
}

BY_STATUS: dict[int, type[StoreError]] = {
    301: WrongRegion,
    302: WrongRegion,
    307: WrongRegion,
    308: WrongRegion,
    401: CredentialsRefused,
    403: AccessRefused,
    408: RequestTimedOut,
    411: FeatureUnsupported,
    413: ObjectRefused,
    414: ObjectRefused,
    421: ConnectionFailed,
    425: ServerFault,
    429: Throttled,
    431: ObjectRefused,
    499: ConnectionFailed,
    501: FeatureUnsupported,
    503: Throttled,
    507: StorageFull,
    509: Throttled,
}

BY_FAULT: dict[Fault, type[StoreError]] = {
    Fault.NO_HOST: EndpointUnreachable,
    Fault.NO_CONNECTION: EndpointUnreachable,
    Fault.TIMED_OUT: RequestTimedOut,
    Fault.MALFORMED: ResponseUnreadable,
    Fault.CUT_SHORT: ResponseUnreadable,
    Fault.TLS_REFUSED: TlsRefused,
    Fault.UNSENDABLE: ObjectRefused,
}
"""Every other fault is a connection that could not be made or kept, but for NO_DESCRIPTORS: no endpoint's fault."""
