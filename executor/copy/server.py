"""Objects that the endpoint copies by itself: CopyObject up to 5 GiB, UploadPartCopy of each part beyond.

Neither carries everything: CopyObject drops ACL, storage class, encryption, redirect and lock, UploadPartCopy drops
all. So everything is read from the source and sent again, with the directive REPLACE, as a PUT would send it.
No byte passes through here, so the ledger gets no checksum of ours; ETags prove what they can, `verify` the rest.
"""

from __future__ import annotations

from executor.carry import carriage, integrity
from executor.carry.carriage import Source
from executor.copy.whole import OnRetry, WholeCopy
from executor.copy.window import PartRange
from executor.ledger.values import Completion, Outcome, PartRecord
from executor.route import SectionRuntime, pin
from schema.errors import DestinationChanged, DigestMismatch, ObjectChanged
from schema.objects import ObjectHead
from schema.plan import Action, Entry

REPLACE = (("x-amz-metadata-directive", "REPLACE"), ("x-amz-tagging-directive", "REPLACE"))


class ServerCopy(WholeCopy):
    """Copies one object by CopyObject. One instance per object; `run` is called once."""

    def run(self, on_retry: OnRetry) -> Completion:
        """The object's completion. Raises its last StoreError, or Stopped."""
        return self._tools.retrier.run(lambda: self._arrived() or self._copy_once(), self._counter, on_retry)

    def _copy_once(self) -> Completion:
        section, entry = self._section, self._entry
        source = self._read()
        if entry.action is Action.OVERWRITE and self._landed is None and not section.guarded(entry.action):
            found = self._look_first(source, lambda: None)
            if found is not None:
                return found
        carried = carriage.write_headers(section, entry, source)
        try:
            answer = section.destination.copy(
                section.source.bucket,
                entry.key,
                entry.target,
                [*carried.headers, *REPLACE],
                source_pin=pin(entry),
                guard=self._guard,
            )
        except DestinationChanged as error:
            return self._reconciled(source, None, error)
        self._check_copied(source.head, answer.etag)
        version = section.version(answer.version_id)
        if carried.tags_after is not None:
            section.destination.put_tags(entry.target, carried.tags_after, version_id=version)
        return Completion(
            self._batch_no, self._ord, Outcome.COPIED, self._counter.used + 1, entry.size, answer.etag, b"", version
        )

    def _read(self) -> Source:
        section, entry = self._section, self._entry
        head = section.source.head(entry.key, version_id=entry.version_id, extra=section.read_extra)
        require_planned(entry, head)
        return carriage.read_source(section, entry, head)

    def _check_copied(self, before: ObjectHead, etag: str) -> None:
        """The answer's ETag against the source's MD5; and the source again, where the endpoint ignores the pin."""
        section, entry = self._section, self._entry
        try:
            require_unchanged(section, entry, before)
        except ObjectChanged:
            self.why = "the source changed while the endpoint copied it: what was written is not what was planned"
            raise
        expected = integrity.source_md5(before, section.source_facts)
        facts = section.destination_facts
        opaque = section.section.destination.sse_customer_key_env is not None or _encrypted_by_kms(section, before)
        if expected is not None and facts.enforces("etag_is_md5") and not opaque and etag != expected.hex():
            raise DigestMismatch(
                f"{entry.target!r}: the copy has ETag {etag}, the source {before.etag}; the copy is made again",
                operation="CopyObject",
                key=entry.target,
            )


def copy_part(section: SectionRuntime, entry: Entry, part: PartRange, upload_id: str) -> PartRecord:
    """One part by UploadPartCopy; its checksum is not known here. Raises StoreErrors."""
    answer = section.destination.copy_part(
        section.source.bucket,
        entry.key,
        entry.target,
        upload_id,
        part.number,
        part.start,
        part.length,
        source_pin=pin(entry),
    )
    return PartRecord(part.number, answer.etag, b"", part.length)


def require_planned(entry: Entry, head: ObjectHead) -> None:
    """Raises ObjectChanged when *head* is not the source object that was planned."""
    if (entry.etag and head.etag != entry.etag) or head.size != entry.size:
        raise ObjectChanged(
            f"{entry.key!r} changed at the source since the plan: ETag {head.etag}, {head.size} bytes",
            operation="HeadObject",
            key=entry.key,
        )


def require_unchanged(section: SectionRuntime, entry: Entry, before: ObjectHead) -> None:
    """Raises ObjectChanged when the source is no longer what *before* says.

    Asked only where the endpoint does not see to it by itself; a version never changes. Raises StoreErrors.
    """
    pinned = "copy_source_if_match" if section.is_whole(entry) else "part_copy_source_if_match"
    if entry.version_id or section.destination_facts.enforces(pinned):
        return
    now = section.source.head(entry.key)
    if (now.etag, now.size, now.last_modified) != (before.etag, before.size, before.last_modified):
        raise ObjectChanged(
            f"{entry.key!r} changed at the source while the endpoint copied it", operation="HeadObject", key=entry.key
        )


def _encrypted_by_kms(section: SectionRuntime, source: ObjectHead) -> bool:
    """The destination's ETag is no MD5: the copy is KMS-encrypted, by the plan or by the bucket's default."""
    wanted = section.plan.preserve.encryption
    by_default = "kms" in section.destination_facts.facts.get("bucket_encryption", "")
    kept = wanted.get("mode", "keep") == "keep" and source.headers.get("x-amz-server-side-encryption", "")
    return by_default or wanted.get("mode") == "sse-kms" or str(kept).startswith("aws:")
