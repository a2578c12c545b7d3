"""What can come of reading a kernel interface, and the exceptions that say so."""

from __future__ import annotations

import enum
import errno
from collections.abc import Collection
from typing import Callable, TypeVar

T = TypeVar("T")


class Status(enum.Enum):
    """Outcome of a reading, from best to worst: where several are combined, the worst wins."""

    OK = "ok"
    NO_DATA = "no_data"  #: it is known to be absent: a module that is not loaded
    UNSUPPORTED = "unsupported"  #: this kernel has no answer
    INCONCLUSIVE = "inconclusive"  #: asked, answered, and the answer proves nothing
    DENIED = "denied"  #: a capability is missing
    TIMEOUT = "timeout"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return _RANK[self]


_RANK = {status: rank for rank, status in enumerate(Status)}

#: Outcomes that require no attention.
HEALTHY = frozenset({Status.OK, Status.NO_DATA, Status.UNSUPPORTED, Status.INCONCLUSIVE})


class ReadError(Exception):
    """A kernel interface did not give the answer; the text names it and says why."""

    status = Status.ERROR


E = TypeVar("E", bound=ReadError)


class NoData(ReadError):
    """The object is known to be absent."""

    status = Status.NO_DATA


class Unsupported(ReadError):
    """This kernel was built without the interface."""

    status = Status.UNSUPPORTED


class Inconclusive(ReadError):
    """The kernel answered, but the answer proves nothing."""

    status = Status.INCONCLUSIVE


class Denied(ReadError):
    """A capability is missing."""

    status = Status.DENIED


class TimedOut(ReadError):
    """The kernel did not answer in time."""

    status = Status.TIMEOUT


class Malformed(ReadError):
    """The kernel's bytes are not what its interface promises."""


_BY_ERRNO: dict[int, type[ReadError]] = {
    errno.ENOENT: NoData,
    errno.ENOTDIR: NoData,
    errno.ENODEV: NoData,
    errno.ESRCH: NoData,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EAGAIN: TimedOut,
    errno.ETIMEDOUT: TimedOut,
}


def from_oserror(error: OSError | ValueError, what: str) -> ReadError:
    """Translate `error`, met while reading `what`, into the `ReadError` of its kind.

    A ValueError is of a path that no file can have: with a NUL, or a lone surrogate.
    """
    if isinstance(error, ValueError):
        return Malformed(f"{what!r}: not a path: {error}")
    kind = TimedOut if isinstance(error, TimeoutError) else _BY_ERRNO.get(error.errno or 0)
    return (kind or ReadError)(f"{what}: {error.strerror or error}")


def defect(what: str, error: Exception) -> ReadError:
    """Return the `ReadError` for an exception that nobody foresaw, with `error` as its cause."""
    failure = ReadError(f"{what}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def bare(error: E) -> E:
    """Return `error` as it was before it was raised: to be kept, or raised once more.

    What is raised refers to the frames it passed, and so to all that was read there. Those refer to
    what they caught, and such a ring of a whole ruleset stays until the collector comes by.
    """
    copied = error.__class__.__new__(error.__class__, *error.args)
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied


def or_none(read: Callable[[], T]) -> T | None:
    """Return what `read` gives, None where it raises `ReadError`."""
    try:
        return read()
    except ReadError:
        return None


def worst(errors: list[ReadError]) -> Status:
    """Return the status of the worst of `errors`, or OK where there are none."""
    return max((error.status for error in errors), key=lambda s: s.rank, default=Status.OK)


def raise_worst(errors: Collection[ReadError]) -> None:
    """Raise the worst of `errors`, if there is one: the end of a row that yielded the rest."""
    if errors:
        raise bare(max(errors, key=lambda error: error.status.rank))
