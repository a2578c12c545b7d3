"""Printed commands for the legacy tables."""

from __future__ import annotations

from typing import NamedTuple

from netfilter_exporter.check import shell
from netfilter_exporter.check.shell import Line
from netfilter_exporter.kernel import names
from netfilter_exporter.rules.families import IPV6, Family

_LONGEST = 28  #: bytes of a chain's name that iptables takes (XT_EXTENSION_MAXNAMELEN is 29)


def tool(families: frozenset[Family]) -> str:
    """Return the command for the legacy tables of a family."""
    return "ip6tables-legacy" if families == IPV6 else "iptables-legacy"


class Target(NamedTuple):
    """A chain, or a rule of it where that has a position."""

    families: frozenset[Family]
    table: str
    chain: str
    position: int = 0  #: counted from 1

    def list_rules(self) -> tuple[Line, ...]:
        """Return what lists the chain with the positions of its rules."""
        return (self._line("list", "-n", "-v", "--line-numbers"),)

    def delete_rule(self) -> tuple[Line, ...]:
        """Return what deletes the rule."""
        return (self._line("delete", str(self.position)),)

    def insert_rule(self) -> tuple[Line, ...]:
        """Return what inserts a rule before this one: a comment, as the new rule is missing."""
        return (shell.commented(self._line("insert", str(self.position), "...")),)

    def _line(self, verb: str, *rest: str) -> Line:
        if len(names.encode(self.chain)) > _LONGEST or self.chain.endswith("\n"):
            return shell.comment(f"iptables cannot be given the name of chain {self.chain}")
        # A name that begins with "-" or "!" is an argument only behind "=".
        odd = self.chain.startswith(("-", "!"))
        chain = (f"--{verb}={self.chain}",) if odd else (f"-{verb[0].upper()}", self.chain)
        return shell.command(tool(self.families), "-t", self.table, *chain, *rest)
