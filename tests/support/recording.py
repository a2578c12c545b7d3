"""One recorded state of one kernel: its files, its facts, and the answers to each request."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from support import archive, wire

CAPTURES = Path(__file__).parent.parent / "fixtures" / "captures"

_FAILED = re.compile(r"^# error: \w+ \w+ (\d+)$", re.MULTILINE)
_REQUEST = re.compile(r"^# request: ([0-9a-f]+)$", re.MULTILINE)
_SEND_REFUSED = "(sendto EPERM)"


class Exchange(NamedTuple):
    """A request to the kernel and what came back."""

    request: bytes | None
    datagrams: tuple[bytes, ...]  #: of getsockopt, the one structure
    errno: int | None  #: of the call that failed before there was an answer
    send_refused: bool  #: of the tracking probe: a filter refused the datagram


class Recording(NamedTuple):
    """A state of a kernel. `files` are those of the machine, the kernel's static ones included."""

    kernel: str
    state: str
    files: tuple[archive.Entry, ...]
    facts: Mapping[str, str]
    exchanges: Mapping[str, Exchange]  #: by file name, without .hex
    commands: str  #: those that made the state
    interfaces: Mapping[str, int]  #: the index of each; nothing where that was not recorded

    @property
    def recorder(self) -> int:
        """Return which recorder it is of: tests/record knows more questions from time to time."""
        return int(self.facts.get("recorder", 0))

    @property
    def modular(self) -> bool:
        """Whether the kernel can load modules at all."""
        return any(entry.path == "proc/modules" for entry in self.files)

    def hooks(self, family: str) -> bytes | None:
        """Return what lists the functions at the hooks of ip or ip6; None where nothing could."""
        answers = [self.exchanges[f"hook-{family}-{number}"] for number in range(5)]
        if any(not a.datagrams or wire.errno_of(a.datagrams[0]) for a in answers):
            return None
        return b"".join(datagram for a in answers for datagram in a.datagrams)


def names() -> list[str]:
    """Return every recorded state as KERNEL/STATE."""
    paths = sorted(CAPTURES.glob("*/*.ttar"), key=lambda path: (_version(path.parent.name), path))
    return [f"{path.parent.name}/{path.stem}" for path in paths if path.stem != "static"]


def load(name: str) -> Recording:
    """Return the recording of KERNEL/STATE."""
    kernel, state = name.split("/")
    entries = _entries(f"{kernel}/{state}")
    texts = {e.path: e.content.decode() for e in entries if e.content is not None}
    return Recording(
        kernel,
        state,
        files=(*_entries(f"{kernel}/static"), *(e for e in entries if _of_machine(e.path))),
        facts=_values(texts["facts.txt"]),
        exchanges={
            Path(path).stem: parse_exchange(text)
            for path, text in texts.items()
            if path.startswith("netlink/")
        },
        commands=texts["commands.txt"],
        interfaces={k: int(v) for k, v in _values(texts.get("interfaces.txt", "")).items()},
    )


def _values(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def parse_exchange(text: str) -> Exchange:
    """Parse a file of netlink/: comments, then one datagram in hexadecimal on each line."""
    request = _REQUEST.search(text)
    failed = _FAILED.search(text)
    return Exchange(
        request=bytes.fromhex(request[1]) if request else None,
        datagrams=tuple(
            bytes.fromhex(line) for line in text.splitlines() if line and not line.startswith("#")
        ),
        errno=int(failed[1]) if failed else None,
        send_refused=_SEND_REFUSED in text,
    )


@functools.lru_cache(maxsize=16)
def _entries(name: str) -> tuple[archive.Entry, ...]:
    return tuple(archive.load((CAPTURES / f"{name}.ttar").read_bytes()))


def _of_machine(path: str) -> bool:
    return path.startswith(("proc/", "sys/"))


def _version(kernel: str) -> list[int]:
    return [int(part) for part in kernel.split(".")]
