"""The canary objects of a probe: written under one folder of ours, recorded, and removed whatever happens."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar
from xml.sax.saxutils import escape

from schema.errors import (
    BucketMissing,
    ConnectionFailed,
    EndpointUnreachable,
    ListingRefused,
    ObjectMissing,
    RequestTimedOut,
    ResponseUnreadable,
    Scope,
    ServerFault,
    StoreError,
    Throttled,
    WrongRegion,
)
from schema.objects import ListedObject, WriteResult, supported
from storage.port import UNGUARDED, UNPINNED, Body, CopySource, Guard, HeaderList, ObjectStore, Pin
from storage.retrying import Retry, RetryPolicy
from storage.wire.documents import refused_deletes

FOLDER: Final = ".s3migrate-probe"
"""Canaries live under PREFIX + this + '/TOKEN/'; leave it out of any listing of what is to be migrated."""

ABANDONED_MS: Final = 600_000
"""Canaries of another probe that are older than this belong to one that was killed. A probe takes seconds."""
_TOKEN: Final = re.compile(r"[0-9a-f]{16}/")

SHOWN_LATE_SECONDS: Final = (0.1, 0.2, 0.2, 0.5, 0.5, 1.0, 1.0, 2.0, 2.0)
"""Pauses before each new look at a canary that was accepted and is not shown yet; those of one probe, one after the
other. Checks side by side each have those that were left before them: what in turn finds, side by side finds, too."""

FAR_SECONDS: Final = 0.01
"""An endpoint none of whose answers came sooner is far away: what is independent is asked side by side. What is nearer
is asked in turn, which takes little time, and whose figures (timing.py) many threads of one processor would distort."""
AT_ONCE: Final = 8
"""Requests under way at most, however many checks ask."""

PROBE_RETRY: Final = Retry(RetryPolicy(attempts=3), throttle_seconds=60.0)

Result = TypeVar("Result")

TRANSIENT: Final = (Throttled, ServerFault, ConnectionFailed, RequestTimedOut, ResponseUnreadable)
"""Errors that say nothing about the feature asked for; after several attempts the feature is unknown."""
_CONFUSED: Final = (WrongRegion, BucketMissing, ListingRefused)
"""What a server may answer that mistakes an odd key for something else."""
_UNSAFE_IN_XML: Final = frozenset(chr(c) for c in range(0x20)) | {"\ufffe", "\uffff"}


@dataclass(frozen=True, slots=True)
class Conduct:
    """How patient a probe is, and when it clears up after others."""

    retry: Retry = PROBE_RETRY
    abandoned_ms: int = ABANDONED_MS
    """Canaries of other probes are removed once they are this old."""
    far_seconds: float = FAR_SECONDS
    """See FAR_SECONDS."""
    wait: Callable[[threading.Event, float], object] = threading.Event.wait
    """Waits so many seconds, or until the event is set: the probe is abandoned. The wait of `retry` is not used."""


PROBING: Final = Conduct()


class _Abandoned(Exception):
    """Another check has ended the probe; this one asks no more."""


class _Patience(threading.local):
    """The pauses of SHOWN_LATE_SECONDS that this thread has not used."""

    left: tuple[float, ...] = SHOWN_LATE_SECONDS


class Canary:
    """Writes below one folder of a bucket; knows every key, version and upload it may have left there."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        token: str,
        *,
        conduct: Conduct = PROBING,
        carried: HeaderList = (),
    ) -> None:
        """*carried*: headers that go with every write, as with those of the run: a bucket's policy may demand them."""
        self.store = store
        self._far_seconds = conduct.far_seconds
        self._quickest: float | None = None
        """Seconds of the quickest answer; None: nothing was asked yet."""
        self._abandoned = threading.Event()
        self._wait = partial(conduct.wait, self._abandoned)
        self._under_way = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        """Of `_quickest` and `versions_told`, which are read before they are written."""
        self._carried = tuple(carried)
        self.prefix = prefix
        self._root = f"{prefix}{FOLDER}/"
        self.folder = f"{self._root}{token}/"
        self._retry = replace(conduct.retry, wait=self.pause)
        self._written: dict[tuple[str, str | None], None] = {}
        self.etags: dict[str, str] = {}
        """The answer to the last write of each key."""
        self._uploads: list[tuple[str, str]] = []
        self._lost_upload = False
        """An upload may be open whose id was lost."""
        self._reached = False
        """Something was sent to the endpoint: until then no write can have left anything behind."""
        self.versioned = False
        """The bucket keeps versions, or may: those that answers did not name are listed before the probe ends."""
        self.versions_told: bool | None = None
        """Whether every write named its version. None: nothing was written, or the bucket keeps none."""
        self._of_others: list[ListedObject] = []
        self._server_ms = 0
        """The server's time when it wrote our last canary that was listed."""
        self._patience = _Patience()

    def key(self, name: str) -> str:
        """The full key of canary *name*."""
        return self.folder + name

    def ask(self, call: Callable[[], Result], *, tolerant: bool = False) -> Result | StoreError:
        """The call's result, or its error as a value. Transient errors are repeated first.

        Errors that concern the whole run are raised, unless *tolerant*: a server that does not understand an odd
        key or query may answer with a redirect or speak of another bucket.
        """

        def once() -> Result | StoreError:
            try:
                result = self._sent(call)
            except TRANSIENT as error:
                if not isinstance(error, EndpointUnreachable):
                    self._reached = True
                raise
            except StoreError as error:
                if isinstance(error, ObjectMissing) and error.key in self.etags:
                    return self._shown_late(call, error)
                if error.scope is Scope.RUN and not (tolerant and isinstance(error, _CONFUSED)):
                    raise
                self._reached = True
                return error
            self._reached = True
            return result

        try:
            return self._retry.call(once)
        except TRANSIENT as error:
            return error

    def _sent(self, call: Callable[[], Result]) -> Result:
        """The call's result, once fewer than AT_ONCE are under way."""
        with self._under_way:
            if self._abandoned.is_set():
                raise _Abandoned
            began = self._retry.clock()
            result = call()
            took = self._retry.clock() - began
        with self._lock:
            self._quickest = took if self._quickest is None else min(took, self._quickest)
        return result

    @property
    def far(self) -> bool:
        """Whether no answer came sooner than after so many seconds as make an endpoint far away."""
        return self._quickest is not None and self._quickest >= self._far_seconds

    def each(self, checks: Sequence[Callable[[], Result]]) -> list[Result]:
        """The results of *checks*, in their order: made side by side where the endpoint is far away, else in turn.

        No check may depend on another, or on the canaries it writes. Raises the error of the first that failed, when
        none is under way any more: what they have left behind is known then.
        """
        if len(checks) < 2 or not self.far:
            return [check() for check in checks]
        patience = self._patience.left
        with ThreadPoolExecutor(min(AT_ONCE, len(checks)), thread_name_prefix="probe") as pool:
            under_way = [pool.submit(self._unless_abandoned, check, patience) for check in checks]
            try:
                wait(under_way)
            except BaseException:
                self._abandoned.set()
                raise
        errors = [error for check in under_way if (error := check.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, _Abandoned)):
            raise error
        ended = [check.result() for check in under_way]
        self._patience.left = min((left for _, left in ended), key=len)
        return [result for result, _ in ended]

    def _unless_abandoned(
        self, check: Callable[[], Result], patience: tuple[float, ...]
    ) -> tuple[Result, tuple[float, ...]]:
        """The result of *check*, and what it has left of *patience*."""
        self._patience.left = patience
        try:
            return check(), self._patience.left
        except BaseException:
            self._abandoned.set()
            raise

    def _shown_late(self, call: Callable[[], Result], missing: StoreError) -> Result | StoreError:
        """Repeat *call* until the endpoint shows what it has accepted, as long as the patience lasts."""
        while self._patience.left:
            seconds, *left = self._patience.left
            self._patience.left = tuple(left)
            self.pause(seconds)
            try:
                return self._sent(call)
            except ObjectMissing as error:
                missing = error
            except StoreError as error:
                return error
        return missing

    def put(
        self,
        name: str,
        body: Body,
        headers: HeaderList = (),
        *,
        guard: Guard = UNGUARDED,
        tolerant: bool = False,
    ) -> WriteResult | StoreError:
        """PUT canary *name*."""
        return self.put_key(self.key(name), body, headers, guard=guard, tolerant=tolerant)

    def put_key(
        self,
        key: str,
        body: Body,
        headers: HeaderList = (),
        *,
        guard: Guard = UNGUARDED,
        tolerant: bool = False,
    ) -> WriteResult | StoreError:
        """The same for a full key. It is recorded before the request: a lost answer may hide a success."""
        new = (key, None) not in self._written
        self._written[(key, None)] = None
        sent = [*headers, *self._carried]
        answer = self.ask(lambda: self.store.put(key, body, sent, guard=guard), tolerant=tolerant)
        if not isinstance(answer, StoreError):
            self.remember(key, answer)
        elif new and not (self._reached and isinstance(answer, TRANSIENT)):
            del self._written[(key, None)]
        return answer

    def remember(self, key: str, answer: WriteResult) -> None:
        """A write that bypassed `put` (Complete, copy): its version must go, too."""
        self._written[(key, None)] = None
        if self.versioned:
            with self._lock:
                self.versions_told = self.versions_told is not False and answer.version_id is not None
        self.etags[key] = answer.etag
        if answer.version_id not in (None, "null"):
            self._written[(key, answer.version_id)] = None

    def copy(
        self,
        source: str,
        name: str,
        headers: HeaderList = (),
        *,
        source_pin: Pin = UNPINNED,
        guard: Guard = UNGUARDED,
    ) -> WriteResult | StoreError:
        """CopyObject of canary *source* to canary *name*; remembered before the request, as a PUT is."""
        store, key, sent = self.store, self.key(name), [*headers, *self._carried]
        self._written.setdefault((key, None))
        copied = CopySource(store.bucket, self.key(source), source_pin)
        answer = self.ask(lambda: store.copy(copied, key, sent, guard=guard))
        if not isinstance(answer, StoreError):
            self.remember(key, answer)
        return answer

    def create_upload(self, name: str, headers: HeaderList = ()) -> str | StoreError:
        """An upload id; aborted at the end unless `completed`."""
        key = self.key(name)
        lost = True
        try:
            answer = self.ask(lambda: self.store.create_upload(key, [*headers, *self._carried]))
            if isinstance(answer, str):
                self._uploads.append((key, answer))
            lost = isinstance(answer, TRANSIENT)
        finally:
            if lost:
                self._lost_upload = True
        return answer

    def open_upload(self, name: str) -> str | None:
        """The id of the upload of canary *name* that is still open, or None."""
        return next((upload_id for key, upload_id in self._uploads if key == self.key(name)), None)

    def completed(self, name: str, upload_id: str, answer: WriteResult) -> None:
        """The upload became an object."""
        with contextlib.suppress(ValueError):
            self._uploads.remove((self.key(name), upload_id))
        self.remember(self.key(name), answer)

    def listing(self) -> dict[str, ListedObject] | StoreError:
        """What the bucket holds below the folder, by canary name."""
        answer = self.ask(lambda: list(supported(self.store.list_objects(self.folder))), tolerant=True)
        if isinstance(answer, StoreError):
            return answer
        self._server_ms = max([self._server_ms, *(found.modified_ms for found in answer)])
        return {found.key[len(self.folder) :]: found for found in answer}

    def pause(self, seconds: float) -> None:
        """Wait, as before a retry; no longer than until the probe is abandoned."""
        self._wait(seconds)
        if self._abandoned.is_set():
            raise _Abandoned

    def sweep(self, *, versioned: bool, abandoned_ms: int = ABANDONED_MS) -> None:
        """Remove what a killed probe has left: canaries, their versions and uploads, by their age.

        To be called after `remove`. Raises no StoreError: leftovers of others must not fail this probe.
        """
        if not self._server_ms:
            return
        before = self._server_ms - abandoned_ms

        def abandoned(key: str, at_ms: int) -> bool:
            below = key.removeprefix("/") if not self.prefix else key
            theirs = _TOKEN.match(below, len(self._root)) is not None and not below.startswith(self.folder)
            return theirs and at_ms < before

        found = [] if versioned else self._of_others
        # One canary's key begins with /, where the probe has the bucket to itself.
        for place in (self._root, "/" + self._root) if not self.prefix else (self._root,):
            with contextlib.suppress(StoreError):
                if versioned:
                    found += supported(self.store.list_versions(place))
                elif place != self._root:
                    found += supported(self.store.list_objects(place))
        left = [other for other in found if abandoned(other.key, other.modified_ms)]
        if not left:
            return  # uploads are aborted first, so none is left without a canary
        for other in left:
            self._remove_one(other.key, other.version_id if versioned else None)
        with contextlib.suppress(StoreError):
            for upload in list(self.store.list_uploads(self._root)):
                if abandoned(upload.key, upload.initiated_ms):
                    self._abort(upload.key, upload.upload_id)

    def remove(self) -> tuple[str, ...]:
        """Remove everything. Returns the keys (and uploads) that are still there. Raises no StoreError."""
        if self._lost_upload:
            with contextlib.suppress(StoreError):
                self._uploads = [(u.key, u.upload_id) for u in self.store.list_uploads(self.folder)]
        self._abandoned.clear()
        aborted = self.each([partial(self._abort, *upload) for upload in self._uploads])
        left = [f"{key} (upload {u})" for (key, u), gone in zip(self._uploads, aborted, strict=True) if not gone]
        self._uploads = []
        due = self._due()
        self._written = {}
        single = self._remove_batch(due)
        removed = self.each([partial(self._remove_one, *pair) for pair in single])
        failed = [pair for pair, gone in zip(single, removed, strict=True) if not gone]
        left += [f"{key} (version {version})" for key, version in failed if version]
        listed = self._still_listed()
        if listed is None:
            left += [key for key, version in failed if not version]
        else:
            left += [key for key in listed if not self._remove_one(key, None)]
        return tuple(left)

    def _due(self) -> list[tuple[str, str | None]]:
        """What is to be removed, by version where the bucket keeps any: a plain delete would leave a marker.

        A listing shows all versions and markers, whatever the answers to our writes and deletes said. Without a
        listing, a key is deleted by name only if none of its versions is known.
        """
        if self.versioned:
            places = (self.folder, "/" + self.folder) if not self.prefix else (self.folder,)
            with contextlib.suppress(StoreError):
                return [pair for place in places for pair in self._retry.call(partial(self._versions, place))]
        versioned = {key for key, version in self._written if version}
        return [(key, version) for key, version in self._written if version or key not in versioned]

    def _versions(self, place: str) -> list[tuple[str, str | None]]:
        return [(entry.key, entry.version_id) for entry in self.store.list_versions(place)]

    def _still_listed(self) -> list[str] | None:
        """Keys below the folder now; None when they cannot be listed. What other probes have there is recorded."""
        try:
            found = self._retry.call(lambda: list(supported(self.store.list_objects(self._root))))
        except StoreError:
            return None
        self._of_others = [other for other in found if not other.key.startswith(self.folder)]
        return [own.key for own in found if own.key.startswith(self.folder)]

    def _abort(self, key: str, upload_id: str) -> bool:
        try:
            self._retry.call(lambda: self.store.abort_upload(key, upload_id))
        except StoreError:
            return False
        return True

    def _remove_one(self, key: str, version: str | None) -> bool:
        try:
            self._retry.call(lambda: self.store.delete(key, version_id=version))
        except StoreError as error:
            return error.status == 404
        return True

    def _remove_batch(self, due: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        """DeleteObjects for what XML can name; what was not removed by it."""
        batch = [(key, version) for key, version in due if not _UNSAFE_IN_XML.intersection(key)]
        if len(batch) < 2:
            return due
        rows = "".join(
            f"<Object><Key>{escape(key)}</Key>{f'<VersionId>{escape(version)}</VersionId>' if version else ''}</Object>"
            for key, version in batch
        )
        document = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{rows}</Delete>'
        try:
            _, answer = self._retry.call(
                lambda: self.store.subresource("POST", None, [("delete", "")], body=document.encode())
            )
        except StoreError:
            return due
        try:
            refused = refused_deletes(answer)
        except ValueError:
            return due
        done = {pair for pair in batch if pair[0] not in refused}
        return [pair for pair in due if pair not in done]
