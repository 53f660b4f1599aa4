"""S3 error codes, HTTP statuses and libcurl codes, each with the leaf of StoreError it means by itself.

Sources: AWS's list of S3 error codes, MinIO's api-errors, libcurl's libcurl-errors(3). What depends on the call is
decided in error_border.py.
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
        ("XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"), StorageFull
    ),
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "Forbidden", "KMS.DisabledException"), AccessRefused),
    **dict.fromkeys(
        ("KMS.NotFoundException", "KMS.KMSInvalidStateException", "KMS.AccessDeniedException"), AccessRefused
    ),
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "NoSuchTagSet", "NotFound"), ObjectMissing),
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
    429: Throttled,
    431: ObjectRefused,
    499: ConnectionFailed,
    501: FeatureUnsupported,
    503: Throttled,
    507: StorageFull,
    509: Throttled,
}

BY_CURL: dict[int, type[StoreError]] = {
    28: RequestTimedOut,
    **dict.fromkeys((1, 8, 18, 23, 61), ResponseUnreadable),
    **dict.fromkeys((53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91), TlsRefused),
    3: ObjectRefused,
}
"""Everything else libcurl can fail with is a connection that could not be made or kept."""
