"""Confines the process, part by part: one that cannot be had never keeps the others from holding.

Call it where sockets are open and no other thread runs: a thread confines itself and those that it
starts.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.sandbox import capabilities, landlock, libc, places, seccomp

_log = logging.getLogger(__name__)

_PR_SET_NO_NEW_PRIVS = 38

#: In the order in which they are taken: the filter refuses what the others call.
PARTS = ("no_new_privs", "landlock", "capabilities", "seccomp")


class Sandbox(NamedTuple):
    """What holds of the process."""

    parts: Mapping[str, str]  #: with why a part does not hold; empty where it does

    def __str__(self) -> str:
        held = ", ".join(part for part, reason in self.parts.items() if not reason)
        missing = ", ".join(f"{part} ({why})" for part, why in self.parts.items() if why)
        return f"{held or 'nothing'}{f'; without {missing}' if missing else ''}"


def confine(
    paths: Paths, files: Collection[str], writable: str | None = None, *, connects: bool = False
) -> Sandbox:
    """Give up what is not needed to read the host; return what holds, and log it in a line.

    `files` are those of the flags, and what they name. Files are written below `writable` only.
    `connects` says that the helper for network namespaces will be asked.
    """
    steps = _steps(paths, files, writable, connects=connects)
    sandbox = Sandbox({part: _failure(steps[part]) for part in PARTS})
    _log.info("sandbox: %s", sandbox)
    return sandbox


def _steps(
    paths: Paths, files: Collection[str], writable: str | None, *, connects: bool
) -> Mapping[str, Callable[[], object]]:
    """Return what makes each part hold, or raises."""
    return {
        "no_new_privs": lambda: libc.prctl(_PR_SET_NO_NEW_PRIVS, 1),
        "landlock": lambda: landlock.restrict(places.readable(paths, files), writable),
        "capabilities": lambda: capabilities.reduce(files),
        "seccomp": lambda: seccomp.install(writes=writable is not None, connects=connects),
    }


#: Of a process with --sandbox.disable.
DISABLED = Sandbox(dict.fromkeys(PARTS, "disabled"))


def _failure(take: Callable[[], object]) -> str:
    """Return why a part cannot be had; empty where it is."""
    try:
        take()
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:  # a defect of ours must not keep the exporter from serving
        _log.debug("sandbox", exc_info=error)
        return f"{type(error).__name__}: {error}"
    return ""
