"""Rulesets that real programs write, and what is true of a host that has one.

A ruleset is a group of files of ../fixtures/rulesets with one stem: `.nft` for nft, `.iptables` and
`.ip6tables` for iptables-nft-restore, `.legacy` for iptables-legacy-restore. Its header is that of
the first file.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from support.namespace import Namespace
from support.router import Router

FOLDER = Path(__file__).parents[1] / "fixtures" / "rulesets"

_LOAD = {
    ".nft": "nft -f -",
    ".iptables": "iptables-nft-restore --noflush",
    ".ip6tables": "ip6tables-nft-restore --noflush",
    ".legacy": "iptables-legacy-restore -w --noflush",
}
_FORWARD = {"ipv4": "net.ipv4.ip_forward", "ipv6": "net.ipv6.conf.all.forwarding"}
_EMPTY = """
nft flush ruleset
for table in $(cat /proc/net/ip_tables_names); do
  iptables-legacy -w -t $table -F
  iptables-legacy -w -t $table -X
  for chain in $(iptables-legacy -w -t $table -S | sed -n 's/^-P \\(.*\\) DROP$/\\1/p'); do
    iptables-legacy -w -t $table -P $chain ACCEPT
  done
done
"""


@dataclasses.dataclass(frozen=True)
class Ruleset:
    """One program's rules on one host; the fields are the header's keys."""

    name: str
    parts: tuple[Path, ...]
    program: str  #: with its version
    source: str  #: where it is published how they look
    role: str  #: the value of `nat` that the host's user would configure
    exit: int  #: of `check` where nothing is configured
    forwards: str = ""  #: families
    flows: str = ""  #: see `Prepared.flows`
    interfaces: str = ""  #: that exist besides lan0 and wan0
    addresses: str = ""  #: arguments of `ip address add`
    sysctls: str = ""
    info: str = ""  #: alerts of severity info that are right
    found: str = ""  #: alerts of severity warning that are right
    duplicates: int = 0  #: translating rules that are identical to an earlier one
    healthy: bool = True

    @property
    def configuration(self) -> str:
        return f"nat: {self.role}\nnetwork_namespace: any\n"


def _header(part: Path) -> dict[str, Any]:
    lines = []
    for line in part.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        key, _, value = line[2:].partition(": ")
        lines.append(f"{key}: {value if value.isdecimal() or key == 'healthy' else repr(value)}")
    return dict(yaml.safe_load("\n".join(lines)) or {})


def load() -> dict[str, Ruleset]:
    """Return every ruleset by its name."""
    parts: dict[str, list[Path]] = {}
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in _LOAD:
            parts.setdefault(_name(file), []).append(file)
    found = {}
    for name, files in parts.items():
        files.sort(key=lambda file: not _header(file))
        found[name] = Ruleset(name, tuple(files), **_header(files[0]))
    return found


def _name(file: Path) -> str:
    """Return the stem, with the suffix where another ruleset has the same."""
    with_header = [f for f in FOLDER.glob(f"{file.stem}.*") if _header(f)]
    return file.name if len(with_header) > 1 else file.stem


class Host:
    """The router of a `Router` that gets one ruleset after the other."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._undo: list[str] = []

    @property
    def namespace(self) -> Namespace:
        return self.router.router

    def prepare(self, ruleset: Ruleset) -> None:
        """Bring the host into the state that a ruleset describes."""
        self.reset()
        for name in ruleset.interfaces.split():
            self._do(f"ip link add {name} type veth peer name x-{name}", f"ip link del {name}")
        for address in ruleset.addresses.split(","):
            if address:
                self._do(f"ip address add {address}", f"ip address del {address}")
        for setting in ruleset.sysctls.split():
            key = setting.partition("=")[0]
            before = self.namespace.run("sysctl", "-n", key).strip()
            self._do(f"sysctl -qw {setting}", f"sysctl -qw {key}={before}")
        for family, key in _FORWARD.items():
            self.namespace.sh(f"sysctl -qw {key}={int(family in ruleset.forwards.split())}")
        for part in ruleset.parts:
            self.namespace.run(*_LOAD[part.suffix].split(), stdin=part.read_text(encoding="utf-8"))

    def reset(self) -> None:
        """Take away what `prepare` did."""
        self.namespace.sh(_EMPTY)
        while self._undo:
            self.namespace.sh(self._undo.pop())

    def _do(self, command: str, undo: str) -> None:
        self.namespace.sh(command)
        self._undo.append(undo)
