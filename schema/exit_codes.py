"""What the exit codes of every command mean, to people and to schedulers."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Self


class AfterExit(Enum):
    """What a scheduler should do when a process has ended; tests check the files in deploy/ against it."""

    NOTHING = "nothing"
    """All is well."""
    AGAIN = "start again"
    """It was asked to stop: start it again, without counting a failure."""
    RETRY = "retry"
    """It may be transient, or go away on another machine: start it again, a limited number of times."""
    PERSON = "a person"
    """It would end the same way again: somebody has to look at it."""


class ExitCode(IntEnum):
    """What a command's exit code means. --help and README print this table."""

    meaning: str
    then: AfterExit

    def __new__(cls, code: int, meaning: str, then: AfterExit = AfterExit.PERSON) -> Self:
        """A member with its line of the table."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.then = then
        return member

    DONE = 0, "done, or nothing to do", AfterExit.NOTHING
    UNEXPECTED = 1, "unexpected: a bug, its traceback is on stderr", AfterExit.RETRY
    CHANGES = 2, "plan --detailed-exitcode: the plan has changes; diff: the plans differ"
    FAILURES = 3, "finished, but some objects failed, drifted or are parked"
    STALE = 4, "refused: the plan is stale, or what it saw has changed"
    CORRUPT = 5, "refused: plan, manifest or inventory is not what it claims to be"
    LOCK_HELD = 6, "refused: another plan holds the destination"
    NOT_APPROVED = 7, "refused: not the approved plan, a loss not accepted, a guard exceeded, or not as expected"
    DIFFERENCES = 8, "verify found differences"
    USAGE = 64, "usage"
    DECLARATION = 65, "the declaration is malformed"
    INPUT_MISSING = 66, "a named file is not there, or explain's key is in no manifest"
    WRONG_BUCKET = 68, "no such bucket or object, wrong region, or http:// where https:// is spoken"
    UNREACHABLE = (
        69,
        "an endpoint, the ledger or credentials cannot be reached, or a quota or disk is full",
        AfterExit.RETRY,
    )
    DESCRIPTORS = 71, "no more files and connections may be opened (ulimit -n)"
    LOCAL_DISK = 74, "the local disk is full or read-only", AfterExit.RETRY
    STOPPED = 75, "stopped; apply the same plan again to go on", AfterExit.AGAIN
    UNTRUSTWORTHY = (
        76,
        "an answer that cannot be trusted or used (listing, protocol, unsupported request)",
        AfterExit.RETRY,
    )
    REFUSED = 77, "credentials or permissions refused, clock skewed, certificate not verified"
    LEDGER_UNFIT = 78, "the ledger does not fit this build or was altered, or ~/.aws/config is malformed"
