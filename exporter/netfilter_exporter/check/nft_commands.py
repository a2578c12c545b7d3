"""Printed commands for nftables: as text where nft reads the names as they are, else as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from netfilter_exporter.check import nft_words, shell
from netfilter_exporter.check.shell import Line
from netfilter_exporter.kernel import names
from netfilter_exporter.rules.families import BOTH, IPV6, Family

_WHY_JSON = shell.comment("nft reads a name here as something else, so it gets JSON:")
_NOT_TEXT = "nft cannot be given a name that is not UTF-8"
_UNKNOWN = "HANDLE"  #: what a person fills in

_Fields = Mapping[str, object]


def family(families: frozenset[Family]) -> str:
    """Return the word that nft has for the family of a table."""
    if families == BOTH:
        return "inet"
    return "ip6" if families == IPV6 else "ip"


class Handles(NamedTuple):
    """The numbers that nftables gives a table, a chain and a rule; 0 where one is unknown."""

    table: int = 0
    chain: int = 0
    rule: int = 0


class Target(NamedTuple):
    """A table, or a chain of it, or a rule of that where it has a handle."""

    families: frozenset[Family]  #: of the table
    table: str
    chain: str = ""
    handles: Handles = Handles()

    def list_rules(self) -> tuple[Line, ...]:
        """Return what lists the chain with the handles of its rules."""
        if self._is_plain:
            return (shell.command("nft", "-a", "list", "chain", *self._spot),)
        return self._json("list", "chain", {"table": self.table, "name": self.chain})

    def list_set(self, name: str) -> tuple[Line, ...]:
        """Return what lists a set of the table, where nft can be given its name."""
        if not (self._is_plain and nft_words.is_plain(name)):
            return ()
        return (shell.command("nft", "list", "set", family(self.families), self.table, name),)

    def delete_rule(self) -> tuple[Line, ...]:
        """Return what deletes the rule; as a comment where its handle is unknown."""
        if self._is_plain:
            line = shell.command("nft", "delete", "rule", *self._spot, *self._handle)
            return (line if self.handles.rule else shell.commented(line),)
        if self.handles.rule:
            return self._json("delete", "rule", self._rule)
        return (shell.comment("the list shows its handle, without which nft deletes no rule"),)

    def insert_rule(self) -> tuple[Line, ...]:
        """Return what inserts a rule before this one: a comment, as the new rule is missing."""
        if self._is_plain:
            line = shell.command("nft", "insert", "rule", *self._spot, *self._handle, "...")
            return (shell.commented(line),)
        if not self._is_text:
            return (shell.comment(f"{_NOT_TEXT}: load the rules again under another name"),)
        document = self._document("insert", "rule", {**self._rule, "expr": ["..."]})
        return (shell.comment(f"nft -j -f - reads: {document}"),)

    def wake_table(self) -> tuple[Line, ...]:
        """Return what takes the flag dormant from the table."""
        if self._is_plain:
            return (shell.command("nft", "add", "table", *self._spot),)
        return self._json("add", "table", {"name": self.table})

    # -- its forms -------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.table, self.chain) if self.chain else (self.table,)

    @property
    def _is_plain(self) -> bool:
        return all(map(nft_words.is_plain, self._names))

    @property
    def _is_text(self) -> bool:
        return all(map(names.is_text, self._names))

    @property
    def _spot(self) -> tuple[str, ...]:
        return (family(self.families), *self._names)

    @property
    def _handle(self) -> tuple[str, str]:
        return ("handle", str(self.handles.rule or _UNKNOWN))

    @property
    def _rule(self) -> _Fields:
        handle = self.handles.rule or _UNKNOWN
        return {"table": self.table, "chain": self.chain, "handle": handle}

    def _document(self, verb: str, kind: str, fields: _Fields) -> str:
        command = {verb: {kind: {"family": family(self.families), **fields}}}
        return json.dumps({"nftables": [command]})

    def _json(self, verb: str, kind: str, fields: _Fields) -> tuple[Line, ...]:
        if not self._is_text:
            return (shell.comment(f"{_NOT_TEXT}: {self._by_handle}"),)
        document = shell.command("printf", "%s", self._document(verb, kind, fields))
        return (_WHY_JSON, shell.pipe(document, shell.fixed("nft -j -f -")))

    @property
    def _by_handle(self) -> str:
        chain = f", chain handle {self.handles.chain or '?'}" if self.chain else ""
        rule = f", rule handle {self.handles.rule}" if self.handles.rule else ""
        table = f"table handle {self.handles.table or '?'}"
        return f"it is {table}{chain}{rule} in the list of nft -a list ruleset"
