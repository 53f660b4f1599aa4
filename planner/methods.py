"""How objects travel: what the two ends of a pair allow, then key by key, so that a batch is purely one method."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from schema.declaration import Declaration, Pair, Preserve
from schema.ends import endpoint_of
from schema.errors import DeclarationError
from schema.facts import Capabilities, Fact, Finding
from schema.formats.quantities import size_text
from schema.plan import Entry, Method, is_one_copy
from schema.tiers import MAX_PART

MethodOf = Callable[[Sequence[Entry]], Method]
"""The method of one key's transfers (several: its versions, which must stay together)."""


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """What the two ends of a section allow."""

    method: Method
    reason: str
    parts_reason: str = ""
    """The endpoint copies whole objects but not parts: why what needs parts is streamed. '' when it copies parts, too.
    """
    insisted: bool = False
    """The declaration insists on `method`: what would have to travel by another one is refused."""

    def reasons(self, used: Collection[Method | None]) -> dict[str, str]:
        """Why, for each of the *used* methods."""
        known = {self.method: self.reason}
        if self.parts_reason:
            known[Method.STREAM] = self.parts_reason
        return {str(method): why for method, why in known.items() if method in used}


STREAMED = MethodChoice(Method.STREAM, "the default")


def choose_method(declaration: Declaration, pair: Pair, may_read: Callable[[], str]) -> MethodChoice:
    """How the pair's objects travel, and why.

    *may_read* says why the destination's credentials may not read the source, '' when they may; it is called only when
    everything else permits a server-side copy. Raises DeclarationError where the declaration insists on one.
    """
    if declaration.policy.transfer == Method.STREAM:
        return MethodChoice(Method.STREAM, "policy.transfer is stream")
    obstacle = _obstacle(pair) or may_read()
    if not obstacle:
        why = f"both sides are at {endpoint_of(pair.destination)}, which copies on its own"
        return MethodChoice(Method.SERVER_COPY, why, insisted=_insists(declaration))
    return _streamed(declaration, pair, obstacle)


def settle_method(
    declaration: Declaration, pair: Pair, choice: MethodChoice, *, destination: Capabilities
) -> MethodChoice:
    """*choice* after the probe: what the endpoint was seen not to copy well is streamed: everything where CopyObject
    fails, only what needs parts where UploadPartCopy does.
    """
    if choice.method is not Method.SERVER_COPY:
        return choice
    if destination.rejects(Fact.COPY_METADATA):
        return _streamed(declaration, pair, "the endpoint refuses CopyObject")
    if destination.denies(Fact.COPY_METADATA):
        return _streamed(declaration, pair, "the endpoint's copies do not carry exactly the metadata they are given")
    found = destination.finding(Fact.PART_COPY)
    failing = _PART_COPY_FAILS.get(found) if found else None
    return replace(choice, parts_reason=f"{failing}, {_who_needs_parts(declaration.preserve)}") if failing else choice


_PART_COPY_FAILS: Mapping[Finding, str] = {
    Finding.REJECTED: "the endpoint refuses UploadPartCopy",
    Finding.IGNORED: "the endpoint's UploadPartCopy does not bring the bytes it is asked for",
    Finding.UNKNOWN: "the endpoint gave the probe no usable answer to UploadPartCopy",
}


def _who_needs_parts(preserve: Preserve) -> str:
    kept = " and objects whose part layout is kept" if preserve.part_layout else ""
    return f"which objects above {size_text(MAX_PART)}{kept} need"


def chooser(choice: MethodChoice, preserve: Preserve, section: str) -> MethodOf:
    """The method of each key of *section*. Raises DeclarationError for a key that would need a method the declaration
    forbids.
    """
    if not choice.parts_reason:
        return lambda _entries: choice.method

    def choose(entries: Sequence[Entry]) -> Method:
        in_parts = next((entry for entry in entries if not is_one_copy(entry, preserve)), None)
        if in_parts is None:
            return choice.method
        if choice.insisted:
            raise DeclarationError(
                f"{section}: policy.transfer is {choice.method}, but {choice.parts_reason}; {in_parts.key[:200]!r} of "
                f"{size_text(in_parts.size)} is one of them. Declare transfer: auto or stream, or exclude such objects"
            )
        return Method.STREAM

    return choose


def _obstacle(pair: Pair) -> str:
    """Why a server-side copy is ruled out before any request; '' when it is not."""
    source, destination = pair.source, pair.destination
    if endpoint_of(source) != endpoint_of(destination):
        return "the two sides are different endpoints"
    if source.sse_customer_key_env is not None:
        return "the source is encrypted with a customer's key, which the endpoint would have to be given for each copy"
    if destination.sse_customer_key_env is not None:
        return "the destination is encrypted with a customer's key, under which no copy is tried"
    if source.requester_pays and not destination.requester_pays:
        return "the source's requester pays, and the destination's requests do not say that they will"
    return ""


def _insists(declaration: Declaration) -> bool:
    return declaration.policy.transfer == Method.SERVER_COPY


def _streamed(declaration: Declaration, pair: Pair, obstacle: str) -> MethodChoice:
    if _insists(declaration):
        raise DeclarationError(
            f"{pair.id}: policy.transfer is server-copy, but {obstacle}; declare transfer: auto or stream"
        )
    return MethodChoice(Method.STREAM, obstacle)
