"""What a probe found out about an endpoint: the facts, the possible findings, and the record of all of them.

To add a fact, add a member to `Fact` and let a check in storage/probe/ answer it. A fact that depends on the operation
gets one member per operation (IF_MATCH speaks of PUT, COMPLETE_IF_MATCH of CompleteMultipartUpload); what differs from
object to object is not a fact of the endpoint and is judged from the object's own head (see schema/objects.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType

from schema.tiers import FEW_PARTS, MAX_PARTS


class Finding(StrEnum):
    """What the probe saw when it asked about a fact."""

    ENFORCED = "enforced"
    """Honoured, and a violation is refused."""
    IGNORED = "ignored"
    """Accepted without effect."""
    REJECTED = "rejected"
    """Refused altogether."""
    UNKNOWN = "unknown"
    """Asked, and the answers were inconclusive."""


class Fact(StrEnum):
    """A question the probe answers with a `Finding`. The value is the name in the plan file."""

    # Preconditions, one fact per operation.
    IF_NONE_MATCH = "if_none_match"
    """Of PUT."""
    IF_MATCH = "if_match"
    """Of PUT."""
    COMPLETE_IF_NONE_MATCH = "complete_if_none_match"
    COMPLETE_IF_MATCH = "complete_if_match"
    COPY_IF_NONE_MATCH = "copy_if_none_match"
    COPY_IF_MATCH = "copy_if_match"
    COPY_SOURCE_IF_MATCH = "copy_source_if_match"
    PART_COPY_SOURCE_IF_MATCH = "part_copy_source_if_match"
    GET_IF_MATCH = "get_if_match"
    DELETE_IF_MATCH = "delete_if_match"

    # Digests and ETags.
    CONTENT_MD5 = "content_md5"
    CRC64NVME = "crc64nvme"
    CRC32C = "crc32c"
    CRC32 = "crc32"
    SHA256 = "sha256"
    """No check answers it yet."""
    SHA1 = "sha1"
    """No check answers it yet."""
    MULTIPART_CRC64NVME = "multipart_crc64nvme"
    """Of UploadPart and CompleteMultipartUpload."""
    CHECKSUMS_RETURNED = "checksums_returned"
    ETAG_IS_MD5 = "etag_is_md5"
    """Of an object written in one PUT."""
    MULTIPART_ETAG = "multipart_etag"
    """The ETag of an object written in parts is the MD5 of their MD5s, '-' and their number."""

    WRITTEN_ETAG = "written_etag"
    """The answer to a write states the ETag that HEAD shows afterwards. Found only where it does not."""
    HEAD_STORAGE_CLASS = "head_storage_class"
    """HEAD shows the storage class that listings show. Found only where it does not."""
    LISTED_ETAG = "listed_etag"
    """Listings show the size and the ETag that HEAD answers."""

    # Operations.
    MULTIPART = "multipart"
    PART_NUMBERS = "part_numbers"
    """Part number 10,000 is taken."""
    READS_PART_NUMBERS = "reads_part_numbers"
    """HEAD ?partNumber= states the length of a part."""
    PART_COPY = "part_copy"
    COPY_METADATA = "copy_metadata"
    """A copy has exactly the metadata it was told to have. rejected: the endpoint makes no copies at all."""
    VERSIONING = "versioning"
    VERSIONS_TOLD = "versions_told"
    """Every write in a bucket that keeps versions answers which one it made."""

    # What objects carry.
    SYSTEM_HEADERS = "system_headers"
    USER_METADATA = "user_metadata"
    USER_METADATA_UTF8 = "user_metadata_utf8"
    USER_METADATA_RFC2047 = "user_metadata_rfc2047"
    METADATA_UNDERSCORE = "metadata_underscore"
    """A name with '_' arrives unchanged; some proxies drop it or turn it into '-'."""
    METADATA_DOT = "metadata_dot"
    """The same of '.'."""
    METADATA_HYPHEN = "metadata_hyphen"
    """The same of '-', of which servers that keep metadata as names of a language make '_'."""
    METADATA_2KB = "metadata_2kb"
    """All that S3 lets an object have: names and values of 2,048 bytes together."""
    METADATA_4KB = "metadata_4kb"
    """More than that, as servers other than S3 let an object have."""
    WEBSITE_REDIRECT = "website_redirect"
    TAGGING = "tagging"
    """PutObjectTagging."""
    TAGGING_HEADER = "tagging_header"
    """x-amz-tagging of PUT."""
    TAGGING_COPY = "tagging_copy"
    """x-amz-tagging of CopyObject, metadata and tags to be replaced."""
    TAGGING_UPLOAD = "tagging_upload"
    """x-amz-tagging of CreateMultipartUpload."""
    TAG_COUNT = "tag_count"
    """Of both ends. enforced: heads of tagged objects state the number of tags, so those that state none have none."""
    TAGS_READABLE = "tags_readable"
    """rejected: there may be tags that may not be read; ignored: the server has no tags."""
    ACL = "acl"
    ACL_READABLE = "acl_readable"
    """See TAGS_READABLE."""
    OBJECT_LOCK = "object_lock"

    # Keys.
    KEY_BACKSLASH = "key_backslash"
    """A backslash stays one; some servers turn it into a slash."""
    KEY_BLANKS = "key_blanks"
    """Segments may begin or end with a blank, and end with a dot; some cut both off."""
    KEY_CASE = "key_case"
    KEY_CHARACTERS = "key_characters"
    """Blanks, '+' and '%' within."""
    KEY_CONTROL = "key_control"
    KEY_DOT_SEGMENTS = "key_dot_segments"
    KEY_DOUBLE_SLASH = "key_double_slash"
    KEY_FILE_AND_FOLDER = "key_file_and_folder"
    KEY_FOLDER_CONTENT = "key_folder_content"
    """A key that ends in '/' may have content."""
    KEY_FOLDER_MARKER = "key_folder_marker"
    KEY_LEADING_SLASH = "key_leading_slash"
    KEY_LONG_SEGMENT = "key_long_segment"
    """More than 255 bytes between two slashes, which file systems do not hold."""
    KEY_NORMAL_FORM = "key_normal_form"
    """Accented letters stay as they are, composed or decomposed."""
    KEY_WIDE = "key_wide"
    """Characters beyond the first 65,536, such as emoji."""
    ODD_KEYS = "odd_keys"
    """KEY_DOUBLE_SLASH, KEY_DOT_SEGMENTS and KEY_LEADING_SLASH together."""
    FOLDS_DOUBLE_SLASH = "folds_double_slash"
    FOLDS_LEADING_SLASH = "folds_leading_slash"
    CASE_INSENSITIVE = "case_insensitive"


class Setting(StrEnum):
    """A question the probe answers in words; for buckets in S3's own, ABSENT where the setting is absent."""

    BUCKET_VERSIONING = "bucket_versioning"
    """Enabled, Suspended, none."""
    BUCKET_DEFAULT_RETENTION = "bucket_default_retention"
    """'MODE 30 days'."""
    BUCKET_ENCRYPTION = "bucket_encryption"
    BUCKET_LIFECYCLE = "bucket_lifecycle"
    BUCKET_OWNERSHIP = "bucket_ownership"
    BUCKET_PAYER = "bucket_payer"
    """BucketOwner or Requester."""
    SAMPLE_CARRIES = "sample_carries"
    """What sampled source objects have that a migration may lose; words separated by ', '."""
    SYSTEM_HEADERS_LOST = "system_headers_lost"
    """Names separated by ', '."""
    SYSTEM_HEADERS_REFUSED = "system_headers_refused"
    """Of those: a write that carries one is refused."""
    SERVER_HEADERS = "server_headers"
    """Headers the server adds to every object although nobody set them; see schema/server_headers.py."""
    PROBE = "probe"
    """Why the probe wrote nothing; missing when it did."""


ClassFact = NewType("ClassFact", str)
"""Whether an endpoint takes a storage class; see storage_classes.class_fact."""
AnyFact = Fact | ClassFact
Facts = dict[Fact | ClassFact | Setting, str]
"""Answers being collected: a Finding for a fact, words for a setting."""

ABSENT: Final = "none"
"""A setting that is not there."""
_ENFORCED: Final = Finding.ENFORCED.value
_REJECTED: Final = Finding.REJECTED.value
_DENIED: Final = frozenset({Finding.IGNORED, Finding.REJECTED})
_NOT_KEPT: Final = frozenset({Finding.IGNORED, Finding.REJECTED, Finding.UNKNOWN})
_PART_NUMBERS: Final = Fact.PART_NUMBERS


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a probe found of one endpoint. What it did not ask about is missing, and never counts against the endpoint.

    Names and findings that this build does not know (a plan of another version) are kept in `facts` and otherwise
    treated as missing.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    """By the names of the plan file, in ascending order."""

    @classmethod
    def of(cls, found: Facts) -> Capabilities:
        """The record of all that was *found*, as it goes into a plan."""
        return cls({str(name): str(found[name]) for name in sorted(found)})

    def without(self, fact: AnyFact) -> Capabilities:
        """The same without *fact*, as if it had not been asked about."""
        return Capabilities({name: found for name, found in self.facts.items() if name != fact})

    def enforces(self, fact: AnyFact) -> bool:
        """The probe saw it enforced."""
        return self.facts.get(fact) == _ENFORCED

    def rejects(self, fact: AnyFact) -> bool:
        """The probe saw it refused."""
        return self.facts.get(fact) == _REJECTED

    def denies(self, fact: AnyFact) -> bool:
        """The probe saw it refused or without effect."""
        return self.facts.get(fact) in _DENIED

    def lacks(self, fact: AnyFact) -> bool:
        """The probe asked and did not see it work: denied, or no usable answer."""
        return self.facts.get(fact) in _NOT_KEPT

    def takes(self, fact: AnyFact) -> bool:
        """Whether a condition of this kind is sent: the probe saw it enforced, or did not ask.

        One that was tested and did not work may make every request that carries it fail.
        """
        return self.facts.get(fact, _ENFORCED) == _ENFORCED

    def finding(self, fact: AnyFact) -> Finding | None:
        """What the probe saw; None: it did not ask."""
        found = self.facts.get(fact)
        return Finding(found) if found in _NOT_KEPT or found == _ENFORCED else None

    def asked(self, fact: AnyFact) -> bool:
        """The probe asked."""
        return fact in self.facts

    def setting(self, setting: Setting) -> str:
        """The setting's words, 'none' or 'unknown'; '' when the probe did not ask."""
        return self.facts.get(setting, "")

    @property
    def default_retention(self) -> str:
        """The retention under which the bucket puts every new object ('MODE 30 days'); '' when none is known."""
        words = self.facts.get(_DEFAULT_RETENTION, "")
        return "" if words in (ABSENT, Finding.UNKNOWN) else words

    @property
    def never_versioned(self) -> bool:
        """The bucket never kept versions: there are only objects to list, and not every endpoint can list versions."""
        return self.facts.get(Setting.BUCKET_VERSIONING) == ABSENT

    @property
    def most_parts(self) -> int:
        """Of one upload: 10,000, unless the probe saw that part number refused."""
        return FEW_PARTS if self.rejects(_PART_NUMBERS) else MAX_PARTS


_DEFAULT_RETENTION: Final = Setting.BUCKET_DEFAULT_RETENTION
"""Looked up once per object, where a member of an enum class is too slow to reach."""
