"""The planner's reasons, as written into side manifests and shown to people."""

from __future__ import annotations

from enum import StrEnum

from schema import plan


class Reason(StrEnum):
    """One reason for one decision. The values are written into manifests: changing one changes digests."""

    ABSENT = "absent at the destination"
    SAME_SIZE = plan.SAME_SIZE
    SAME_ETAG = plan.SAME_ETAG
    NOT_OLDER = plan.NOT_OLDER
    COPIED_EARLIER = plan.COPIED_EARLIER
    SAME_VERSION = plan.HELD_VERSION
    SAME_MARKER = plan.HELD_MARKER

    OTHER_SIZE = "the sizes differ"
    OTHER_ETAG = "the ETags differ"
    SOURCE_NEWER = "the source is newer"
    SOURCE_CHANGED = "the source has changed since this lineage copied it"
    UNPROVEN = "unproven: same size, but the ETags of the two ends cannot be compared"
    DESTINATION_NEWER = "the destination differs and is newer than the source"
    UNPROVEN_NEWER = "unproven: the ETags cannot be compared, and the destination is newer than the source"
    HISTORY_DIVERGED = "the versions at the destination are not the source's history"

    ARCHIVED = "archived: restore it first, or declare on_archived: restore"
    TOO_LARGE = "larger than the destination's parts can hold (48.8 TiB; 4.88 TiB where it takes 1,000 parts)"
    NO_HISTORY = "the destination bucket keeps no versions (loss versions): only the current object of a key can arrive"
    KEY_EMPTY = "the mapping leaves an empty key"
    KEY_TOO_LONG = "the key at the destination would be longer than 1,024 bytes"
    KEY_REFUSED = "the destination refuses or renames keys of this kind"
    KEY_SOAP = "the key 'soap' cannot be addressed virtual-hosted; declare addressing: path"

    NOT_INCLUDED = "matches no include glob"
    EXCLUDED_BY_GLOB = "matches an exclude glob"
    BELOW_MIN_SIZE = "smaller than min_size"
    ABOVE_MAX_SIZE = "larger than max_size"
    TOO_OLD = "modified before modified_after"
    TOO_NEW = "modified at or after modified_before"
    OTHER_CLASS = "its storage class is not among storage_classes"

    NOT_AT_SOURCE = "at the destination only"
    FILTERED_AT_DESTINATION = "at the destination only, and the filters say hands off"
    FOLDED_AT_DESTINATION = "at the destination only, but it folds or renames keys: this may be a copied one"
    OLDER_VERSION = "at the destination only; not the current version"
