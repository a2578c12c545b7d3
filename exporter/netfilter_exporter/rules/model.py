"""One model for the rules of both backends: what of them decides whether NAT works."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netfilter_exporter.rules.detail import NO_FORM, Form, RuleDetail
from netfilter_exporter.rules.families import BOTH, Backend, Family, Hook

#: A chain behind it can no longer keep a packet from being tracked. One of this very priority can
#: if it was registered after tracking began (include/uapi/linux/netfilter_ipv4.h).
NF_IP_PRI_CONNTRACK = -200


#: What an interface begins with that is named by its index, which no name can contain.
INDEX = "index "


class Action(enum.Enum):
    """What a translating rule does; the value is the `action` label."""

    MASQUERADE = "masquerade"
    SNAT = "snat"
    DNAT = "dnat"
    REDIRECT = "redirect"
    NETMAP = "netmap"

    __hash__ = object.__hash__  # as that of Family


class Verdict(enum.Enum):
    """The verdicts that end a chain for the packet, or send it to another."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    QUEUE = "queue"
    GOTO = "goto"
    JUMP = "jump"


class Rule(NamedTuple):
    """What a rule does. Rules that do the same are one object, whatever addresses they match.

    What they match is in their `RuleDetail` (`Chain.details`).
    """

    conditional: bool = False  #: it has a match, so that some packets may pass it by
    verdict: Verdict | None = None
    targets: tuple[str, ...] = ()  #: the chain of a jump or goto
    maps: tuple[str, ...] = ()  #: verdict maps it looks into, by name
    comment: str = ""  #: of an unconditional rule
    action: Action | None = None
    families: frozenset[Family] = BOTH  #: fewer where it says ``meta nfproto``
    #: names, or INDEX and a number, that must be there for it to match anything
    interfaces: tuple[str, ...] = ()
    loopback: bool = True  #: False where an interface match keeps loopback traffic out
    notrack: bool = False
    #: it writes an address into packets, which connection tracking does not see
    rewrites: bool = False
    zone: bool = False  #: it puts flows into a conntrack zone
    zone_both_ways: bool = False  #: always the same one, and their replies are looked up there too
    helper: str = ""  #: the conntrack helper that it assigns, if it is a rule of iptables
    extension: bool = False  #: its action is an xt target, also where nftables carries it
    #: It translates, and has a counter of nothing but the packets that it translates.
    counted: bool = False
    form: Form = NO_FORM  #: how its detail is decoded


def is_among(interface: str, interfaces: Mapping[str, int]) -> bool:
    """Return whether what a rule needs is one of `interfaces`, which are indices by name."""
    if interface.startswith(INDEX):
        return int(interface[len(INDEX) :]) in interfaces.values()
    return interface in interfaces


class Chain(NamedTuple):
    """A chain; `hook` is None for a user chain."""

    rules: list[Rule]
    hook: Hook | None = None
    type: str = ""  #: nat, filter or route
    priority: int = 0
    drops: bool = False  #: its policy is drop
    values: bytes = b""  #: of its rules, one after the other: what their forms decode

    @property
    def translates(self) -> bool:
        """Whether it is a base chain whose rules may translate."""
        return self.type == "nat" and self.hook is not None

    @property
    def is_before_tracking(self) -> bool:
        """Whether it is a base chain whose rules may keep packets from being tracked."""
        return self.hook in {Hook.PREROUTING, Hook.OUTPUT} and self.priority <= NF_IP_PRI_CONNTRACK

    @property
    def is_before_all_tracking(self) -> bool:
        """Whether what is received passes it before tracking, whichever was registered first."""
        return self.hook is Hook.PREROUTING and self.priority < NF_IP_PRI_CONNTRACK

    @property
    def sees_forwarded(self) -> bool:
        """Whether it is a base chain that packets pass on their way through this host."""
        return self.hook in {Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING}

    @property
    def is_of_interest(self) -> bool:
        """Whether its rules say anything about NAT, or about what is forwarded."""
        return self.translates or self.is_before_tracking or self.sees_forwarded

    def details(self) -> Iterator[RuleDetail]:
        """Yield each rule in full, in the order of `rules`."""
        start = 0
        for rule in self.rules:
            end = start + rule.form.size
            yield RuleDetail(rule.form, self.values[start:end])
            start = end


class Table(NamedTuple):
    """A table with its chains by name, and the chains that its verdict maps lead to."""

    backend: Backend
    families: frozenset[Family]
    name: str
    chains: Mapping[str, Chain]
    maps: Mapping[str, tuple[str, ...]]
    dormant: bool = False  #: NFT_TABLE_F_DORMANT: listed, but its chains are not hooked
    #: The families that come to each chain of a map, of maps whose keys say so.
    map_families: Mapping[str, Mapping[str, frozenset[Family]]] = {}

    def lists(self) -> Iterable[Sequence[Rule]]:
        """Return the rules of all chains, once where several chains have the same list."""
        return {id(chain.rules): chain.rules for chain in self.chains.values()}.values()

    def rules(self, chain: str) -> Sequence[Rule]:
        """Return the rules of a chain: none where it is not listed."""
        found = self.chains.get(chain)
        return found.rules if found else ()

    def details(self, chain: str) -> Iterator[RuleDetail]:
        """Yield the rules of a chain in full, in the order of `rules`."""
        found = self.chains.get(chain)
        return found.details() if found else iter(())

    def leads(self, rule: Rule) -> Sequence[str]:
        """Return the chains to which a rule sends packets: by a jump, a goto, or verdict maps."""
        if not rule.maps:
            return rule.targets
        return (*rule.targets, *(chain for name in rule.maps for chain in self.maps.get(name, ())))

    def behind(self, chains: Iterable[str], *, maps: bool = True) -> Iterator[str]:
        """Yield these chains and those to which their rules lead, each once, the nearest first.

        Without `maps`, verdict maps are not followed.
        """
        todo = list(dict.fromkeys(chains))
        seen = set(todo)
        for chain in todo:  # grows while it is walked
            yield chain
            for rule in self.rules(chain):
                for target in self.leads(rule) if maps else rule.targets:
                    if target not in seen:
                        seen.add(target)
                        todo.append(target)
