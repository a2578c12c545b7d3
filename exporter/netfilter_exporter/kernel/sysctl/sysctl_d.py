"""The values that sysctl.d sets, read as systemd-sysctl reads it.

Source: sysctl.d(5) and src/sysctl/sysctl.c of systemd; the order of settings, globs and
exclusions was compared with what systemd-sysctl 252 does. /etc/sysctl.conf counts only where a link
in one of the directories leads to it.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.conf_files import ConfFile, ConfFiles
from netfilter_exporter.kernel.container import shows_host
from netfilter_exporter.kernel.errors import Denied, NoData, ReadError, bare
from netfilter_exporter.kernel.files import Paths, read_bytes
from netfilter_exporter.kernel.sysctl import names as sysctl_names

_log = logging.getLogger(__name__)

#: CONF_PATHS("sysctl.d"), in order of precedence; the last one on systems with a separate /usr.
DIRECTORIES = (
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
)

_LINE_END = re.compile(r"\r\n|[\n\r\0]")
_BLANK = " \t\n\r"
_NUMBER = re.compile(r"(-?)(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,19})(?!\S)")


class Origin(NamedTuple):
    """Where a value is set."""

    file: str  #: as the host calls it
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Option(NamedTuple):
    """A line: `value` is to be written to `key`, or None keeps `key` from being written."""

    key: str
    value: str | None
    origin: Origin


class Setting(NamedTuple):
    """What sysctl.d leaves a variable at, once everything in it has been written."""

    value: int
    origin: Origin


class NotAssignment(NamedTuple):
    """A line that systemd-sysctl ignores."""

    origin: Origin


def parse_file(content: bytes, file: str) -> Iterator[Option | NotAssignment]:
    """Parse one file, which the host calls `file`."""
    for number, raw in enumerate(_LINE_END.split(content.decode("utf-8", "surrogateescape")), 1):
        line = raw.strip(_BLANK)
        if line and line[0] not in "#;":
            yield parse_line(line, Origin(file, number))


def parse_line(line: str, origin: Origin) -> Option | NotAssignment:
    """Parse a line that is not empty: ``key = value``, ``-key = value`` or ``-key``."""
    left, assigned, right = line.partition("=")
    if not assigned and not line.startswith("-"):
        return NotAssignment(origin)
    # With a value, the dash only says that a failure does not matter.
    key = sysctl_names.to_key(left[left.startswith("-") :].strip(_BLANK))
    return Option(key, right.strip(_BLANK) if assigned else None, origin)


def merge(options: Iterable[Option]) -> dict[str, Option]:
    """Return the options that count, in the order in which they are written.

    A later one takes the place at the end, unless it says what is said already.
    """
    merged: dict[str, Option] = {}
    for option in options:
        earlier = merged.get(option.key)
        if earlier is None or earlier.value != option.value:
            merged.pop(option.key, None)
            merged[option.key] = option
    return merged


def settle(options: Mapping[str, Option], kernel: Iterable[str]) -> dict[str, Setting]:
    """Return the values that are set, by canonical key, after all `options` were written in order.

    `kernel` are the keys that a glob may match. Interfaces are not among them: they come and go,
    and only one that is named is set.
    """
    settings: dict[str, Setting] = {}
    for key, option in options.items():
        number = None if option.value is None else parse_number(option.value)
        if number is None:
            continue  # the kernel refuses it, and what was written before stays
        for target in _expand(key, options, kernel):
            variable = sysctl_names.canonical(target)
            for other in sysctl_names.overwritten(variable, settings):
                del settings[other]
            settings[variable] = Setting(number, option.origin)
    return settings


def _expand(key: str, options: Mapping[str, Option], kernel: Iterable[str]) -> Iterator[str]:
    if not is_glob(key):
        yield key
        return
    for candidate in kernel:
        # What is named by itself is not a glob's: not its value, and not its exclusion.
        if candidate not in options and _matches(candidate, key):
            yield candidate


def is_glob(key: str) -> bool:
    """Return whether systemd takes `key` for a pattern (string_is_glob)."""
    return any(character in key for character in "*?[")


def _matches(key: str, pattern: str) -> bool:
    parts, patterns = key.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def parse_number(text: str) -> int | None:
    """Return the number that the kernel makes of `text` (proc_get_long), or None.

    It takes decimal, octal and hexadecimal, and stops at the first blank.
    """
    match = _NUMBER.match(text.lstrip())
    if not match:
        return None
    digits = match.group(2)
    octal = digits.startswith("0") and digits.isdigit()
    number = int(digits, 8 if octal else 0)
    if number >= 1 << 63:
        return None
    return -number if match.group(1) else number


class Options(NamedTuple):
    """Everything that sysctl.d says about keys in scope, and what of it could not be read."""

    merged: Mapping[str, Option]
    errors: tuple[ReadError, ...]


class SysctlD:
    """Reads sysctl.d again when a file of it changed."""

    def __init__(self, paths: Paths) -> None:
        # A container's image has its own sysctl.d, which nobody applies.
        shown = [name for name in DIRECTORIES if shows_host(paths, name)]
        self._listed = ConfFiles(paths, shown)
        self._files: tuple[ConfFile, ...] | None = None
        self._options = Options({}, ())

    def read(self) -> Options:
        """Return the options in force; an absent directory sets nothing."""
        listing = self._listed.read()
        if listing.files != self._files:
            self._options = _read(listing.files)
            # What failed for another reason than a missing right may work the next time.
            lasting = all(isinstance(error, Denied) for error in self._options.errors)
            self._files = listing.files if lasting else None
        return Options(self._options.merged, (*listing.errors, *self._options.errors))


def _read(files: Iterable[ConfFile]) -> Options:
    options: list[Option] = []
    errors: list[ReadError] = []
    for file in files:
        try:
            content = read_bytes(file.path) if file.signature else b""
        except NoData:
            continue  # removed since it was listed
        except ReadError as error:
            errors.append(bare(error))
            continue
        for parsed in parse_file(content, file.name):
            if isinstance(parsed, NotAssignment):
                _log.debug("%s: not an assignment, ignored as systemd-sysctl does", parsed.origin)
            elif is_glob(parsed.key) or sysctl_names.in_scope(parsed.key):
                options.append(parsed)
    return Options(merge(options), tuple(errors))
