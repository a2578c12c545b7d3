"""The rules of one nftables table, put into their chains as they arrive."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Callable, NamedTuple, Optional

from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.names import Names
from netfilter_exporter.kernel.netlink.attributes import pack_name, text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import nfgenmsg, nfnetlink_places
from netfilter_exporter.kernel.nft.decode import decode
from netfilter_exporter.kernel.nft.map_families import family_place
from netfilter_exporter.kernel.nft.maps import TableKey, Use
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETRULE,
    NFTA_RULE_CHAIN,
    NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_HANDLE,
    NFTA_RULE_TABLE,
    NFTA_RULE_USERDATA,
    NFTNL_UDATA_RULE_COMMENT,
)
from netfilter_exporter.kernel.parser_cache import Parsed, Picker, parser_cache
from netfilter_exporter.kernel.rule_parts import with_names
from netfilter_exporter.rules.model import Chain, Rule

#: Of a rule that looks into verdict maps: its handle, and where their keys have the family.
Lookup = tuple[bytes, Optional[int]]
#: Table, chain as it stands in the message, rule, the bytes of its values, and its lookup. A plain
#: tuple: there are many.
ParsedRule = tuple[TableKey, bytes, Rule, bytes, Optional[Lookup]]

#: What the form of a rule depends on. The chain is in the message of each rule.
_RULE_READ = {NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS}
_join = b"".join


class TableRules(NamedTuple):
    """Chains of a table, filled with their rules, and the verdict maps that these use."""

    chains: dict[str, Chain]
    uses: list[Use]


class RuleReader:
    """Reads the rules of one reading of the ruleset, and of its increments.

    Of those, rules that do the same are one object too.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection  #: another one for an increment
        self.names = Names()
        self._parse = parser_cache(functools.partial(parse_rule, names=self.names))
        self._lists = SharedLists()

    def read(
        self, table: TableKey, bases: Mapping[str, Chain], chain: str | None = None
    ) -> TableRules:
        """Return the rules of a table, or of one of its chains.

        `bases` are base chains. A kernel that does not know the filter gives all chains.
        """
        request = _of_table(table)
        if chain is not None:
            request += pack_name(NFTA_RULE_CHAIN, chain)
        found = self.connection.dump_into(
            "nftables GETRULE",
            NFT_MSG_GETRULE,
            request,
            lambda: RuleCollector(table, bases, self.names, self._parse, self._lists),
        )
        found.finish()
        return TableRules(found.chains, found.uses)


@functools.lru_cache(maxsize=16)
def _of_table(table: TableKey) -> bytes:
    """Return how requests for the rules of a table begin: there may be one for each chain."""
    return nfgenmsg(table[0]) + pack_name(NFTA_RULE_TABLE, table[1])


class SharedLists:
    """The rules of chains: those of the last few that have the same are one list."""

    def __init__(self) -> None:
        self._of_size: dict[int, list[Rule]] = {}

    def share(self, rules: list[Rule]) -> list[Rule]:
        """Return a list of these rules, which nobody may change."""
        last = self._of_size.get(len(rules))
        if last is not None and all(map(operator.is_, last, rules)):
            return last
        exact = self._of_size[len(rules)] = rules[:]  # a list that grew has room for more
        return exact


class RuleCollector:
    """Puts the rules of one table into their chains: the kernel lists chain after chain."""

    def __init__(
        self,
        table: TableKey,
        bases: Mapping[str, Chain],
        names: Names,
        parse: Callable[[memoryview], ParsedRule],
        lists: SharedLists,
    ) -> None:
        self.chains = dict(bases)
        self.uses: list[Use] = []  #: of verdict maps
        self._table = table
        self._names = names
        self._share = lists.share
        self.parse = parse
        self._chain: bytes | None = None  #: to which the next ones most likely belong
        self._rules: list[Rule] = []
        self._values: list[bytes] = []

    def add(self, parsed: ParsedRule) -> None:
        """Add the rule of an NFT_MSG_NEWRULE; a kernel that knows no filter sends all tables'."""
        table, chain, rule, values, lookup = parsed
        if table != self._table:
            return
        if chain != self._chain:
            self.finish()
            self._chain = chain
        self._rules.append(rule)
        if values:
            self._values.append(values)
        if lookup:
            handle, at = int.from_bytes(lookup[0], "big"), lookup[1]
            self.uses += [Use(table, handle, name, at) for name in rule.maps]

    def finish(self) -> RuleCollector:
        """Close the chain that is being filled."""
        if self._chain is not None:
            name = self._names[self._chain]
            rules, values = self._share(self._rules), _join(self._values)
            before = self.chains.get(name)
            if before is None:
                self.chains[name] = Chain(rules, values=values)
            else:
                rules, values = before.rules + rules, before.values + values
                self.chains[name] = before._replace(rules=rules, values=values)
            self._chain, self._rules, self._values = None, [], []
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RuleCollector) and self.finish().chains == other.finish().chains

    __hash__ = None  # type: ignore[assignment]


def parse_rule(payload: memoryview, names: Names | None = None) -> Parsed[ParsedRule]:
    """Parse an NFT_MSG_NEWRULE; rules of one form share what they do, not where they lead.

    `names` are those that were met in the same reading.
    """
    known = Names() if names is None else names
    places = nfnetlink_places(payload)
    for type_ in (NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE):
        if type_ not in places:
            raise Malformed("nftables: a rule without a table, a chain or a handle")
    table = payload[0], text(payload[places[NFTA_RULE_TABLE]])
    nest = places.get(NFTA_RULE_EXPRESSIONS, slice(0, 0))
    decoded = decode(payload, nest.start, nest.stop)
    rule = decoded.rule
    comments = [] if rule.conditional else _present(places, NFTA_RULE_USERDATA)
    ignored = [*decoded.ignored, places[NFTA_RULE_CHAIN]]
    ignored += [place for type_, place in places.items() if type_ not in _RULE_READ]
    named = [*decoded.targets, *decoded.maps, *comments]
    handles = [places[NFTA_RULE_HANDLE]] if decoded.maps else []
    picker = Picker(len(payload), [places[NFTA_RULE_CHAIN]], decoded.values, named, handles)
    unpack, values_of, named_of = picker.unpack, picker.joined(1), picker.group(2)
    at = picker.at(places[NFTA_RULE_CHAIN])
    if not named:
        return Parsed(lambda m: (table, (p := unpack(m))[at], rule, values_of(p), None), ignored)
    if len(named) == len(decoded.targets) == 1:
        jump, to = _Jumps(rule, known), picker.at(named[0])
        return Parsed(
            lambda m: (table, (p := unpack(m))[at], jump[p[to]], values_of(p), None), ignored
        )
    name = _Namer(rule, known, len(decoded.targets), len(decoded.maps))
    if not decoded.maps:
        return Parsed(
            lambda m: (table, (p := unpack(m))[at], name[named_of(p)], values_of(p), None), ignored
        )
    handle_of, place = picker.joined(3), family_place(rule.form)

    def make(message: memoryview) -> ParsedRule:
        parts = unpack(message)
        lookup = handle_of(parts), place
        return table, parts[at], name[named_of(parts)], values_of(parts), lookup

    return Parsed(make, ignored)


def _present(places: Mapping[int, slice], type_: int) -> list[slice]:
    return [places[type_]] if type_ in places else []


class _Jumps(dict[bytes, Rule]):
    """The rules of one form by the chain that they lead to: a jump, of which there are most."""

    def __init__(self, rule: Rule, known: Names) -> None:
        super().__init__()
        self._make = with_names(rule)
        self._known = known

    def __missing__(self, name: bytes) -> Rule:
        rule = self[name] = self._make((self._known[name],), (), "")
        return rule


class _Namer(dict[tuple[bytes, ...], Rule]):
    """The rules of one form by the names in them: of chains, maps, and a comment."""

    def __init__(self, rule: Rule, known: Names, targets: int, maps: int) -> None:
        super().__init__()
        self._make = with_names(rule)
        self._known = known
        self._targets = targets
        self._maps = targets + maps  #: where they end

    def __missing__(self, names: tuple[bytes, ...]) -> Rule:
        known = self._known
        chains = names[: self._targets]
        maps = names[self._targets : self._maps]
        comments = names[self._maps :]
        rule = self[names] = self._make(
            tuple([known[name] for name in chains]),
            tuple([known[name] for name in maps]),
            parse_comment(comments[0]) if comments else "",
        )
        return rule


def parse_comment(userdata: bytes) -> str:
    """Return the comment in NFTA_RULE_USERDATA, which libnftnl fills with (type, length, value)."""
    offset = 0
    while offset + 2 <= len(userdata):
        type_, length = userdata[offset], userdata[offset + 1]
        if type_ == NFTNL_UDATA_RULE_COMMENT:
            return text(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""
