"""`versions: all`: what a key's history at the destination already holds, so that no version is written twice.

Writes of a history carry no precondition: each lies on top of what was written before. So whenever the result of the
last write is unknown (an answer was lost, a process was killed before its flush), the key's versions are listed and
compared with the versions to come.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from executor.carry import carriage, integrity, readback
from executor.copy.job import Ended, Job, Stored, Tools
from executor.route import Route
from schema.errors import ObjectRefused
from schema.facts import Capabilities
from schema.objects import ListedObject, ObjectHead, UnsupportedEntry
from schema.plan import Action, Entry


class KeyHistory:
    """One key's versions at the destination, as far as they are known. Used by one thread at a time."""

    def __init__(self, route: Route, target: str, tools: Tools, *, recorded: Collection[str]) -> None:
        """*recorded*: ids of versions at the destination that the ledger has a row for."""
        self._route = route
        self._target = target
        self._known = set(recorded)
        self._tools = tools

    def wrote(self, version_id: str | None) -> None:
        """A version was written, and its answer came."""
        if version_id is not None:
            self._known.add(version_id)

    def look(self) -> None:
        """Consider everything there now as known: it was there before this chain began."""
        self._known.update(v.version_id for v in self._listed() if v.version_id is not None)

    def begin(self, chain: Sequence[Job], *, repeated: bool) -> list[Ended]:
        """How those first jobs of *chain* ended whose versions are already at the destination.

        *repeated*: the chunk was claimed before, so something may have been written and not recorded. Otherwise
        nothing was, and a listing is spent only where the destination had versions before. Raises StoreErrors.
        """
        if repeated:
            found = self.landed([job.entry for job in chain])
            return [self._ended(job, there) for job, there in zip(chain, found, strict=False)]
        if chain[0].entry.action is not Action.COPY:
            self.look()
        return []

    def ending(self, job: Job) -> Ended | None:
        """How *job* ended when its version is already at the destination, on top of what is known; else None."""
        found = self.landed([job.entry])
        return self._ended(job, found[0]) if found else None

    def _ended(self, job: Job, there: ListedObject) -> Ended:
        if there.delete_marker:
            return job.marker_already_laid(there.version_id)
        if self._route.plan.preserve.tags:
            self._tools.again(partial(self._give_tags, job.entry, there))
        return job.already_there(Stored(there.etag, there.version_id))

    def _give_tags(self, entry: Entry, there: ListedObject) -> None:
        """Tags too long for a header follow the write: the process may have been killed in between."""
        route = self._route
        head = route.source.head(entry.key, version_id=entry.version_id, extra=route.read_extra)
        due = carriage.write_headers(route, entry, carriage.read_source(route, entry, head)).tags_after
        if due is not None:
            route.destination.put_tags(entry.target, due, version_id=there.version_id)

    def landed(self, coming: Sequence[Entry]) -> list[ListedObject]:
        """Those of *coming* (oldest first) that are at the destination already, as listed there; known from now on.

        They are the longest beginning of *coming* with which the destination's history ends. Raises StoreErrors.
        """
        unknown: list[ListedObject] = []
        for version in self._listed():
            unknown = [] if version.version_id in self._known else [*unknown, version]
        for length in range(min(len(unknown), len(coming)), 0, -1):
            tail = unknown[-length:]
            if all(self._same(entry, there) for entry, there in zip(coming[:length], tail, strict=True)):
                self._known.update(v.version_id for v in tail if v.version_id is not None)
                return tail
        return []

    def _listed(self) -> list[ListedObject]:
        """Oldest first. Keys ascend, so the key itself comes before all that only begin with it."""

        def ask() -> list[ListedObject]:
            found: list[ListedObject] = []
            for version in self._route.destination.list_versions(self._target):
                if version.key != self._target:
                    break
                if isinstance(version, UnsupportedEntry):
                    raise ObjectRefused(f"its history at the destination: {version.reason}", key=version.key)
                found.append(version)
            return found

        return self._tools.again(ask)

    def _same(self, entry: Entry, there: ListedObject) -> bool:
        if entry.action is Action.DELETE_MARKER or there.delete_marker:
            return there.delete_marker and entry.action is Action.DELETE_MARKER
        if there.size != entry.size:
            return False
        ours, theirs = integrity.md5_of_etag(entry.etag), integrity.md5_of_etag(there.etag)
        if entry.etag and entry.etag == there.etag:
            return True
        if ours is not None and theirs is not None and self._etags_are_md5(entry, there):
            return ours == theirs
        ours_now = readback.at_source(self._route, entry)
        theirs_now = readback.at_destination(self._route, entry, there, version_id=there.version_id)
        mine, other = readback.crcs_of_both(ours_now, theirs_now, self._tools.read_back)
        return mine == other

    def _etags_are_md5(self, entry: Entry, there: ListedObject) -> bool:
        """Whether both ETags, which look like MD5s, are: that of an encrypted version is not, which only its head
        shows.
        """
        route = self._route

        def md5_of(head: Callable[[], ObjectHead], facts: Capabilities) -> bytes | None:
            return integrity.source_md5(self._tools.again(head), facts)

        def source() -> ObjectHead:
            return route.source.head(entry.key, version_id=entry.version_id)

        def destination() -> ObjectHead:
            return route.destination.head(self._target, version_id=there.version_id)

        ends = ((source, route.source_facts), (destination, route.destination_facts))
        return all(md5_of(head, facts) is not None for head, facts in ends)
