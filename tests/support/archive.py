"""Trees of small files as one readable text file, in the manner of ttar.

    python tests/support/archive.py pack DIRECTORY FILE
    python tests/support/archive.py unpack FILE DIRECTORY

tests/fixtures/README.md describes the format.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

#: Parts of a recorded state that are not packed. files.tsv turns into the entries' modes.
LEFT_OUT = (
    "files.tsv",
    "netlink/ctnetlink-dump.hex",  # the flows of the recording: nothing lists them
    "netlink/nft-get*-ip.hex",  # the dump of all families, -unspec, holds the same messages
    "netlink/nft-get*-ip6.hex",
    "netlink/nft-get*-inet.hex",
)

_NO_NEWLINE = b", no newline at end"
_FIELD = re.compile(rb"(Path|Directory|Mode|Lines): (.*)")
#: What cannot stand as it is in a line of text: control bytes, the backslash and invalid UTF-8.
_UNREADABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\\\udc80-\udcff]")
_ESCAPE = re.compile(rb"\\(\\|x([0-9a-f]{2}))")


class Entry(NamedTuple):
    """A file, or a directory with nothing in it."""

    path: str
    content: bytes | None  #: None for a directory
    mode: int | None = None  #: on the recorded machine, where that is known


class ArchiveError(Exception):
    """The text is no archive; the message names the line."""


def dump(entries: Iterable[Entry]) -> bytes:
    """Return the archive of `entries`."""
    return b"".join(_dump_entry(entry) for entry in entries)


def load(archive: bytes) -> list[Entry]:
    """Return the entries of an archive; raise `ArchiveError` where it is none."""
    lines = _Lines(archive)
    entries = []
    while (line := lines.next_entry()) is not None:
        kind, path = _field(line, lines, ("Path", "Directory"))
        mode, content = None, None
        if kind == "Path":
            key, text = _field(lines.next(), lines, ("Mode", "Lines"))
            if key == "Mode":
                mode = int(text, 8)
                _, text = _field(lines.next(), lines, ("Lines",))
            content = lines.content(text)
        entries.append(Entry(os.fsdecode(_unescape(path)), content, mode))
    return entries


def collect(directory: str) -> list[Entry]:
    """Return the tree below `directory`, sorted, without LEFT_OUT, with the modes of files.tsv."""
    modes = _recorded_modes(directory)
    entries = []
    for folder, folders, names in os.walk(directory):
        folders.sort()
        where = os.path.relpath(folder, directory)
        if not folders and not names:
            entries.append(Entry(where, None))
        for name in names:
            path = os.path.normpath(os.path.join(where, name))
            if not any(fnmatch.fnmatch(path, pattern) for pattern in LEFT_OUT):
                content = Path(folder, name).read_bytes()
                entries.append(Entry(path, content, modes.get(path)))
    return sorted(entries)


def extract(entries: Iterable[Entry], directory: str) -> None:
    """Write `entries` below `directory`, which may already hold others. Modes are not applied."""
    for path, content, _ in entries:
        target = os.path.join(directory, path)
        if not os.path.realpath(target).startswith(os.path.realpath(directory) + os.sep):
            raise ArchiveError(f"{path}: outside the archive")
        if content is None:
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            Path(target).write_bytes(content)


def _dump_entry(entry: Entry) -> bytes:
    path = _escape(os.fsencode(entry.path))
    if entry.content is None:
        return b"Directory: " + path + b"\n"
    header = b"Path: " + path + b"\n"
    if entry.mode is not None:
        header += b"Mode: %04o\n" % entry.mode
    lines = entry.content.split(b"\n")
    ending = _NO_NEWLINE if lines[-1] else b""
    if not lines[-1]:
        lines.pop()
    text = b"".join(_escape(line) + b"\n" for line in lines)
    return header + b"Lines: %d%s\n" % (len(lines), ending) + text


def _escape(raw: bytes) -> bytes:
    text = raw.decode("utf-8", "surrogateescape")
    escaped = _UNREADABLE.sub(_escape_character, text)
    return escaped.encode("utf-8")


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    return r"\\" if character == "\\" else f"\\x{ord(character) & 0xFF:02x}"


def _unescape(line: bytes) -> bytes:
    return _ESCAPE.sub(lambda m: bytes([int(m[2], 16)]) if m[2] else b"\\", line)


def _field(line: bytes, lines: _Lines, keys: tuple[str, ...]) -> tuple[str, bytes]:
    match = _FIELD.fullmatch(line)
    if not match or match[1].decode() not in keys:
        raise ArchiveError(f"line {lines.number}: expected {' or '.join(keys)}, got {line[:60]!r}")
    return match[1].decode(), match[2]


class _Lines:
    """The lines of an archive, and the number of the last one that was taken."""

    def __init__(self, archive: bytes) -> None:
        lines = archive.split(b"\n")
        if lines.pop():
            raise ArchiveError(f"line {len(lines) + 1}: the archive ends within it")
        self._lines: Iterator[bytes] = iter(lines)
        self.number = 0

    def next(self) -> bytes:
        self.number += 1
        try:
            return next(self._lines)
        except StopIteration:
            raise ArchiveError(f"line {self.number}: the archive ends too early") from None

    def next_entry(self) -> bytes | None:
        """Return the first line of the next entry: comments stand only before one."""
        for line in self._lines:
            self.number += 1
            if line and not line.startswith(b"#"):
                return line
        return None

    def content(self, text: bytes) -> bytes:
        """Return the content whose Lines field has the value `text`."""
        count = text.removesuffix(_NO_NEWLINE)
        if not count.isdigit():
            raise ArchiveError(f"line {self.number}: no count of lines: {text!r}")
        lines = [_unescape(self.next()) + b"\n" for _ in range(int(count))]
        content = b"".join(lines)
        return content if count == text else content[:-1]


def _recorded_modes(directory: str) -> dict[str, int]:
    table = Path(directory, "files.tsv")
    if not table.exists():
        return {}
    rows = [line.split("\t") for line in table.read_text("utf-8").splitlines()[1:]]
    return {path: int(mode, 8) for path, mode, _ in rows}


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 3 or arguments[0] not in {"pack", "unpack"}:
        sys.stderr.write(__doc__ or "")
        return 2
    command, source, target = arguments
    if command == "pack":
        Path(target).write_bytes(dump(collect(source)))
    else:
        extract(load(Path(source).read_bytes()), target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
