"""What stops modprobe and the kernel from loading a module.

``install X /bin/false`` and ``module_blacklist=`` stop X, also where only another module needs it.
``blacklist X`` and ``modprobe.blacklist=`` make modprobe ignore the aliases of X: they stop a
module that the kernel requests by an alias (``nft-expr-nat``, ``ipt_MASQUERADE``), and no other.
Source: libkmod-config.c and ``kmod_module_get_install_commands`` of kmod 30; ``blacklisted`` in
kernel/module/main.c (v6.18); the aliases ran on 5.10, 6.1, 6.12 and 7.2.
"""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
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
_COMMAND_LINE = "/proc/cmdline"


class Rule(NamedTuple):
    """A line that keeps a module from being loaded, or may."""

    word: str  #: install, blacklist, or the parameter of the kernel command line
    pattern: str
    command: str = ""  #: of install: what modprobe runs instead of loading what matches
    file: str = ""  #: as the host calls it
    first: int = 0  #: number of the line; 0 on the kernel command line
    last: int = 0  #: of its last part, where backslashes continue it

    @property
    def loads_nothing(self) -> bool:
        words = self.command.replace(";", " ").split()
        if any(loader in word for word in words for loader in _LOADERS):
            return False
        return bool(words) and words[0].rpartition("/")[2] in _EMPTY

    @property
    def of_kernel(self) -> bool:
        """Whether the kernel itself refuses the module, until the next boot."""
        return self.word == "module_blacklist"

    @property
    def of_alias(self) -> bool:
        """Whether it stops aliases alone: another module still brings it."""
        return self.word in {"blacklist", "modprobe.blacklist"}

    def matches(self, name: str) -> bool:
        if self.word == "install":
            return fnmatch.fnmatchcase(name, self.pattern)
        return name == self.pattern

    def __str__(self) -> str:
        if not self.first:
            return f"{self.word}={self.pattern}"
        return " ".join(filter(None, (self.word, self.pattern, self.command)))


def parse_rules(content: bytes, file: str = "") -> Iterator[Rule]:
    """Yield the install and blacklist lines of one file, which the host calls `file`."""
    for first, last, line in _lines(content.decode("utf-8", "replace")):
        word, *rest = line.split(None, 2) or ("",)
        if word == "install" and len(rest) == 2:
            yield Rule(word, _underscores(rest[0]), rest[1].strip(), file, first, last)
        elif word == "blacklist" and rest:
            yield Rule(word, rest[0].replace("-", "_"), "", file, first, last)


def _lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the numbers of the first and the last part of each line, and the whole line."""
    first, whole = 1, ""
    for number, part in enumerate(text.split("\n"), 1):
        if part.endswith("\\"):
            whole += part[:-1]
            continue
        yield first, number, whole + part
        first, whole = number + 1, ""
    yield first, first, whole


def _underscores(pattern: str) -> str:
    """Return `pattern` with underscores for hyphens, but for those between brackets."""
    depth = 0
    characters = []
    for character in pattern:
        depth += (character == "[") - (character == "]")
        characters.append("_" if character == "-" and depth <= 0 else character)
    return "".join(characters)


def stopped(
    rules: Iterable[Rule], names: Iterable[str], by_alias: Collection[str] = ()
) -> Mapping[str, tuple[Rule, ...]]:
    """Return the rules that stop each of `names`: all that must go before it can be loaded.

    Of install lines the first that matches counts, and when it is gone, the next. `by_alias` are
    the names that are requested by an alias alone.
    """
    rules = tuple(rules)
    installs = [rule for rule in rules if rule.word == "install"]
    others = [rule for rule in rules if rule.word != "install"]
    found = {}
    for name in names:
        matching = (rule for rule in installs if rule.matches(name))
        reasons = list(itertools.takewhile(lambda rule: rule.loads_nothing, matching))
        reasons += [
            rule for rule in others if rule.matches(name) and (rule.of_kernel or name in by_alias)
        ]
        if reasons:
            found[name] = tuple(reasons)
    return found


def parse_cmdline(content: bytes) -> tuple[Rule, ...]:
    """Return what the kernel command line stops, and which aliases it makes modprobe ignore."""
    by_kernel: list[str] = []
    by_modprobe: list[str] = []
    for word in content.decode("utf-8", "replace").split():
        if word == "--":  # what follows is for init
            break
        key, equals, value = word.strip('"').partition("=")
        names = [name for name in value.strip('"').split(",") if name]
        if equals and key.replace("-", "_") == "module_blacklist":
            by_kernel = names  # the last one counts (core_param), and names are compared as is
        elif equals and key == "modprobe.blacklist":
            by_modprobe += [name.replace("-", "_") for name in names]
    return (
        *(Rule("module_blacklist", name, file=_COMMAND_LINE) for name in by_kernel),
        *(Rule("modprobe.blacklist", name, file=_COMMAND_LINE) for name in by_modprobe),
    )
