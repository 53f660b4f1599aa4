"""How each key's objects travel: chosen key by key, so that a batch is purely one method and says which."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from schema.declaration import Preserve
from schema.errors import DeclarationError
from schema.plan import Entry, Method, is_one_copy
from schema.quantities import size_text

MethodOf = Callable[[Sequence[Entry]], Method]
"""The method of one key's transfers (several: its versions, which must stay together)."""


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """What the two ends of a section allow."""

    method: Method
    reason: str
    parts_reason: str = ""
    """The endpoint copies by itself, but no parts: why what needs parts is streamed. '': it copies parts, too."""
    insisted: bool = False
    """The declaration insists on `method`: what would have to travel by another one is refused."""

    def reasons(self, used: Collection[Method | None]) -> dict[str, str]:
        """Why, for each of the *used* methods."""
        known = {self.method: self.reason}
        if self.parts_reason:
            known[Method.STREAM] = self.parts_reason
        return {str(method): why for method, why in known.items() if method in used}


STREAMED = MethodChoice(Method.STREAM, "the default")


def chooser(choice: MethodChoice, preserve: Preserve, section: str) -> MethodOf:
    """The method of each key of *section*. It raises DeclarationError for a key that must not travel as it would."""
    if not choice.parts_reason:
        return lambda _entries: choice.method

    def choose(entries: Sequence[Entry]) -> Method:
        in_parts = next((entry for entry in entries if not is_one_copy(entry, preserve)), None)
        if in_parts is None:
            return choice.method
        if choice.insisted:
            raise DeclarationError(
                f"{section}: policy.transfer is {choice.method}, but {choice.parts_reason}; {in_parts.key[:200]!r} of "
                f"{size_text(in_parts.size)} is one. Declare transfer: auto or stream, or exclude such objects"
            )
        return Method.STREAM

    return choose
