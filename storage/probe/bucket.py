"""What a bucket's own settings say: versioning, lock, encryption, lifecycle, ownership. Reading only.

Settings are facts named bucket_*; their values are S3's own words, 'none' where the setting is absent, 'unknown'
where it may not be read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from xml.etree.ElementTree import Element

from schema.errors import AccessRefused, BucketMissing, Scope, StoreError
from schema.facts import ABSENT, Fact, Facts, Setting
from storage.probe.canary import TRANSIENT, Canary
from storage.probe.findings import ENFORCED, IGNORED, REJECTED, UNKNOWN, refusal
from storage.wire.documents import parse_document

Ask = Callable[[str], bytes | StoreError]
"""The body of GET BUCKET?name, or the error."""


def reader(canary: Canary) -> Ask:
    """Requests a bucket's settings."""

    def ask(name: str) -> bytes | StoreError:
        answer = canary.ask(lambda: canary.store.subresource("GET", None, [(name, "")]), tolerant=True)
        if not isinstance(answer, StoreError):
            return answer[1]
        # A 404 with another code says that the setting is missing, not the bucket.
        absent = isinstance(answer, BucketMissing) and answer.code not in ("", "NoSuchBucket")
        if answer.scope is Scope.RUN and not absent:
            raise answer
        return answer

    return ask


def _document(answer: bytes | StoreError, *roots: str) -> Element | str:
    """The setting; 'none' where it is absent or the server does not know it, else 'unknown'.

    Servers that do not know a setting answer as if it were not in the query: with a listing.
    """
    if isinstance(answer, StoreError):
        if isinstance(answer, (*TRANSIENT, AccessRefused)):
            return UNKNOWN
        return ABSENT if answer.status == 404 or refusal(answer) == REJECTED else UNKNOWN
    for root in roots:
        with contextlib.suppress(ValueError):
            return parse_document(answer, root)
    with contextlib.suppress(ValueError):
        parse_document(answer, "ListBucketResult")
        return ABSENT
    return UNKNOWN


def read_versioning(ask: Ask) -> Facts:
    """versioning: enforced when on. bucket_versioning: Enabled, Suspended, none."""
    # The second root is moto's.
    found = _document(ask("versioning"), "VersioningConfiguration", "GetBucketVersioningResponse")
    state = found if isinstance(found, str) else _word(found.findtext("Status"))
    return {
        Setting.BUCKET_VERSIONING: state,
        Fact.VERSIONING: ENFORCED if state == "Enabled" else UNKNOWN if state == UNKNOWN else IGNORED,
    }


def read_object_lock(ask: Ask) -> Facts:
    """object_lock: enforced when the bucket can lock; bucket_default_retention: none, or 'MODE 30 days'."""
    found = _document(ask("object-lock"), "ObjectLockConfiguration")
    if isinstance(found, str):
        return {Fact.OBJECT_LOCK: REJECTED if found == ABSENT else UNKNOWN, Setting.BUCKET_DEFAULT_RETENTION: found}
    retention = found.find("Rule/DefaultRetention")
    words = ABSENT
    if retention is not None:
        length = retention.findtext("Days")
        unit = "days" if length else "years"
        words = f"{_word(retention.findtext('Mode'))} {_word(length or retention.findtext('Years'))} {unit}"
    lockable = found.findtext("ObjectLockEnabled") == "Enabled"
    return {Fact.OBJECT_LOCK: ENFORCED if lockable else REJECTED, Setting.BUCKET_DEFAULT_RETENTION: words}


def read_encryption(ask: Ask) -> Facts:
    """bucket_encryption: the default algorithm."""
    found = _document(ask("encryption"), "ServerSideEncryptionConfiguration")
    if isinstance(found, str):
        return {Setting.BUCKET_ENCRYPTION: found}
    return {Setting.BUCKET_ENCRYPTION: _word(found.findtext("Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm"))}


def read_lifecycle(ask: Ask) -> Facts:
    """bucket_lifecycle: what its enabled rules do, e.g. 'aborts uploads after 7 days, expires objects'."""
    found = _document(ask("lifecycle"), "LifecycleConfiguration")
    if isinstance(found, str):
        return {Setting.BUCKET_LIFECYCLE: found}
    deeds: set[str] = set()
    for rule in found.findall("Rule"):
        if rule.findtext("Status") != "Enabled":
            continue
        abort = rule.findtext("AbortIncompleteMultipartUpload/DaysAfterInitiation")
        if abort:
            deeds.add(f"aborts uploads after {_word(abort)} days")
        if rule.find("Expiration") is not None:
            deeds.add("expires objects")
        if rule.find("Transition") is not None:
            deeds.add("moves objects to other storage classes")
        if rule.find("NoncurrentVersionExpiration") is not None:
            deeds.add("expires old versions")
    return {Setting.BUCKET_LIFECYCLE: ", ".join(sorted(deeds)) or ABSENT}


def read_ownership(ask: Ask) -> Facts:
    """bucket_ownership: BucketOwnerEnforced (then no ACL is taken), BucketOwnerPreferred, ObjectWriter."""
    found = _document(ask("ownershipControls"), "OwnershipControls")
    words = found if isinstance(found, str) else _word(found.findtext("Rule/ObjectOwnership"))
    return {Setting.BUCKET_OWNERSHIP: words, Fact.ACL: REJECTED if words == "BucketOwnerEnforced" else UNKNOWN}


def read_requester_pays(ask: Ask) -> Facts:
    """bucket_payer: BucketOwner or Requester."""
    found = _document(ask("requestPayment"), "RequestPaymentConfiguration")
    return {Setting.BUCKET_PAYER: found if isinstance(found, str) else _word(found.findtext("Payer"))}


def _word(text: str | None) -> str:
    """A setting's value, if it is a plain word: the plan shows it to people."""
    found = re.match(r"[\w:.-]{1,64}", (text or "").strip(), re.ASCII)
    return found.group() if found else ABSENT
