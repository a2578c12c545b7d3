"""What stops modprobe and the kernel from loading a module.

``install X /bin/false`` and ``module_blacklist=`` do, also where X is only needed by another.
``blacklist X`` and ``modprobe.blacklist=`` do not: they make modprobe ignore aliases alone.
Source: libkmod-config.c and ``kmod_module_get_install_commands`` of kmod 30; ``blacklisted`` in
kernel/module/main.c (v6.18).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: Of files with the same name the one in the first of these counts.
DIRECTORIES = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)

#: Commands that load nothing.
_EMPTY = frozenset({"false", "true", ":", "exit"})
_LOADERS = ("modprobe", "insmod", "kmod")


class Install(NamedTuple):
    """An install line: the command that modprobe runs instead of loading what matches."""

    pattern: str
    command: str

    @property
    def loads_nothing(self) -> bool:
        words = self.command.replace(";", " ").split()
        if any(loader in word for word in words for loader in _LOADERS):
            return False
        return bool(words) and words[0].rpartition("/")[2] in _EMPTY


def parse_install(content: bytes) -> Iterator[Install]:
    """Yield the install lines of one file; comments and all other commands are passed over."""
    text = content.decode("utf-8", "replace").replace("\\\n", "")
    for line in text.split("\n"):
        fields = line.split(None, 2)
        if len(fields) == 3 and fields[0] == "install":
            yield Install(_underscores(fields[1]), fields[2].strip())


def _underscores(pattern: str) -> str:
    """Return `pattern` with underscores for hyphens, but for those between brackets."""
    depth = 0
    characters = []
    for character in pattern:
        depth += (character == "[") - (character == "]")
        characters.append("_" if character == "-" and depth <= 0 else character)
    return "".join(characters)


def stopped_by_install(rules: Iterable[Install], names: Iterable[str]) -> frozenset[str]:
    """Return those of `names` that modprobe does not load; the first line that matches counts."""
    rules = tuple(rules)
    stopped = set()
    for name in names:
        first = next((r for r in rules if fnmatch.fnmatchcase(name, r.pattern)), None)
        if first is not None and first.loads_nothing:
            stopped.add(name)
    return frozenset(stopped)


def parse_cmdline(content: bytes) -> frozenset[str]:
    """Return the modules that module_blacklist= on the kernel command line stops."""
    names: frozenset[str] = frozenset()
    for word in content.decode("utf-8", "replace").split():
        if word == "--":  # what follows is for init
            break
        key, equals, value = word.strip('"').partition("=")
        if equals and key.replace("-", "_") == "module_blacklist":
            # The last one counts (core_param), and its names are compared as they are.
            names = frozenset(value.strip('"').split(",")) - {""}
    return names
