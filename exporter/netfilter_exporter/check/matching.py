"""Checks of translating rules that packets reach and that none can match."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from netfilter_exporter.check import commands, nft_commands, places, shell
from netfilter_exporter.check.context import FAMILY, NEEDS_HISTORY, Context
from netfilter_exporter.check.findings import Found, Severity, Value, count, unknown
from netfilter_exporter.check.flow_watch import NewFlows
from netfilter_exporter.check.flows import UNANSWERED
from netfilter_exporter.check.proof import LOST_BIRTHS
from netfilter_exporter.check.rules import every_ruleset_read
from netfilter_exporter.check.shell import Line, comment
from netfilter_exporter.facts.matchability import unmatched
from netfilter_exporter.flows.births import Replied
from netfilter_exporter.kernel.addresses import written
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.matchability import Cause, Reason, Unmatchable

Place = tuple[Backend, frozenset[Family], str, Cause]  #: with the name of the table

_NEEDS_HISTORY = "Requires history: whether sets that translating rules match are usually empty"


def nat_rule_unmatchable(context: Context) -> Iterator[Found]:
    """Translating rules that no packet can match, for another reason than a missing interface."""
    by_place: dict[Place, list[Unmatchable]] = defaultdict(list)
    for backend, each in unmatched(context.snapshot).rules:
        wanted = not all(context.unwanted(family) for family in each.rule.families)
        if each.cause.reason is not Reason.MISSING_INTERFACE and wanted:
            by_place[backend, each.table_families, each.table, each.cause].append(each)
    undecided = False
    for (backend, families, table, cause), rules in by_place.items():
        if cause.reason is Reason.EMPTY_SET and not _is_last(context, rules):
            undecided = True
        else:
            where = commands.where(backend, families, table)
            found = _found(
                where, rules, (*_list(context, backend, rules[0]), *_remedy(backend, rules[0]))
            )
            never_heard = cause.reason is Reason.NO_LISTENER and cause.changes
            yield found._replace(severity=Severity.INFO) if never_heard else found
    if undecided:
        yield unknown(_NEEDS_HISTORY)
    for backend, table, family, number in unmatched(context.snapshot).addresses:
        if not context.unwanted(family):
            yield _lost_source(context, backend, table, family, written(family, number))
    every_ruleset_read(context)


def _is_last(context: Context, rules: Sequence[Unmatchable]) -> bool:
    """Return whether the rules of a family can no longer translate any source.

    Programs prepare both families and fill one: while sources of the other are translated, only a
    role says that this one is missed.
    """
    sources = dict(unmatched(context.snapshot).sources)
    families = {family for each in rules for family in each.rule.families}
    if any(sources.values()):
        families = {family for family in families if not context.undecided(family)}
    return any(sources.get(family) == 0 for family in families if not context.unwanted(family))


def _lost_source(
    context: Context, backend: Backend, table: str, family: Family, address: str
) -> Found:
    """Return the finding of an address that outgoing packets get and that no host has."""
    dead = _is_unanswered(context, family)
    seen = "and translated connections get no reply" if dead else "as far as is known"
    return Found(
        f"{FAMILY[family]}: rules of table {table} translate to {address}, which no host has,"
        f" {seen}.",
        "Replies to such an address are lost, unless the provider routes it to this host.",
        {
            "backend": backend.value,
            "family": family.value,
            "table": table,
            "reason": Reason.MISSING_ADDRESS.value,
            "of": address,
        },
        (
            shell.fixed("ip -br address"),
            comment("add the address to the host again, or put its current address into the rules"),
        ),
        None if dead else Severity.INFO,
    )


def _is_unanswered(context: Context, family: Family) -> bool:
    """Return whether nearly no translated connection is replied."""
    if not isinstance(context.flows, NewFlows):
        return False
    silent = context.flows.count(family, Replied.NO, translated=True)
    replied = context.flows.count(family, Replied.YES, translated=True)
    return silent >= LOST_BIRTHS and silent > UNANSWERED * (silent + replied)


def _found(where: str, rules: Sequence[Unmatchable], remedy: tuple[Line, ...]) -> Found:
    """Return the finding of rules of one table that fail for the same cause."""
    cause = rules[0].cause
    sentence = _SENTENCES[cause.reason]
    listed = [
        f"{each.rule.chain} rule {each.rule.position} ({each.rule.action.value})" for each in rules
    ]
    evidence: dict[str, Value] = {
        "table": rules[0].table,
        "reason": cause.reason.value,
        "of": cause.what,
        "rules": ", ".join(listed),
    }
    if rules[0].jump:
        evidence["jump_from"] = rules[0].jump
    return Found(
        f"{where}: {count(len(rules), *sentence.rules)} {sentence.rest.format(cause.what)}.",
        sentence.why,
        evidence,
        remedy,
    )


class _Sentence(NamedTuple):
    """What is said of rules that fail for one reason."""

    rest: str  #: behind the number of rules; {} is the set, interface or address
    why: str
    #: of one rule, and of several
    rules: tuple[str, str] = ("translating rule matches", "translating rules match")


_SENTENCES = {
    Reason.EMPTY_SET: _Sentence(
        "no packet: the set {} is empty",
        "A rule that looks into a set matches only what the set holds, and no other rule"
        " translates the source of outgoing packets.",
    ),
    Reason.BRIDGE_PORT: _Sentence(
        "no packet: {} is a port of a bridge or bond",
        "Packets of a port arrive and leave at its bridge or bond: rules only see that name.",
    ),
    Reason.MISSING_ADDRESS: _Sentence(
        "no packet: this host no longer has {}",
        "The rule matches packets to an address that this host had within the last day. Its"
        " clients connect to another address, or to none.",
    ),
    Reason.ROUTE_LOCALNET: _Sentence(
        "no packet: route_localnet is 0 on the incoming interface ({})",
        "The rule sends received packets to 127.0.0.0/8. The kernel drops them unless"
        " route_localnet is 1 on the incoming interface.",
    ),
    Reason.UNTRACKED: _Sentence(
        "no packet: notrack rules exempt what arrives at {}",
        "Packets that a notrack rule matches are not tracked, and leave with their private source"
        " address.",
    ),
    Reason.NO_LISTENER: _Sentence(
        "{}, where no program listens",
        "This host refuses the connections. The program stopped, or listens at another port or"
        " address: what a REDIRECT rule receives does not go to 127.0.0.1.",
        ("rule sends connections to", "rules send connections to"),
    ),
    Reason.DROPPED: _Sentence(
        "to another host, and {}",
        "Packets are translated before they are forwarded: what a chain at the forward hook drops"
        " never comes to the published host.",
        ("rule sends connections", "rules send connections"),
    ),
}


def _list(context: Context, backend: Backend, rule: Unmatchable) -> tuple[Line, ...]:
    table = rule.table_families, rule.table
    return places.of(context, backend, table, rule.rule.chain, rule.rule.position).list_rules()


#: What is done about a reason, whatever the rule.
_REMEDIES: dict[Reason, tuple[Line, ...]] = {
    Reason.MISSING_ADDRESS: (
        shell.fixed("ip -br address"),
        comment("give the host that address again, or write its present one into the rules"),
    ),
    Reason.ROUTE_LOCALNET: (
        comment("if only trusted hosts use that interface: net/ipv4/conf/NAME/route_localnet=1"),
        comment("otherwise translate to another address of this host"),
    ),
    Reason.NO_LISTENER: (
        shell.fixed("ss -Htuln"),
        comment("start the program, or correct port or address"),
    ),
    Reason.DROPPED: (
        comment("accept them in that chain: nft: ct status dnat accept"),
        comment("iptables: -I FORWARD -m conntrack --ctstate DNAT -j ACCEPT"),
    ),
}


def _remedy(backend: Backend, rule: Unmatchable) -> tuple[Line, ...]:
    cause = rule.cause
    if cause.reason in _REMEDIES:
        return _REMEDIES[cause.reason]
    if cause.reason is Reason.BRIDGE_PORT:
        link = shell.command("ip", "-d", "link", "show", "dev", cause.what)
        return (link, comment("put the name of the bridge or bond into the rules"))
    if cause.reason is Reason.UNTRACKED:
        notrack = (commands.list_notrack(Backend.NFTABLES, f) for f in rule.rule.families)
        return (*dict.fromkeys(notrack), comment("delete the notrack rule, or narrow its match"))
    table = nft_commands.Target(rule.table_families, rule.table)
    lists = table.list_set(cause.what) if backend is Backend.NFTABLES else ()
    return (*lists, comment("run the program that fills it, or delete the rule"))


# -- NetfilterNatEgressUncovered ---------------------------------------------------------------


def nat_egress_uncovered(context: Context) -> Iterator[Found]:
    """No rule can translate the source of packets that leave for the internet."""
    for family, interface, uncovered in unmatched(context.snapshot).egresses:
        if not uncovered or context.unwanted(family):
            continue
        if not context.required(family):
            yield unknown(NEEDS_HISTORY)
            continue
        yield Found(
            f"{FAMILY[family]}: no rule can translate what leaves by {interface}.",
            "Forwarded packets from private networks leave for the internet by that interface."
            " The rules that translate sources are for other interfaces.",
            {"family": family.value, "interface": interface},
            (_ROUTE[family], comment("put that interface into the rules, or correct the route")),
        )
    every_ruleset_read(context)


_ROUTE = {
    Family.IPV4: shell.fixed("ip route get 20.0.0.1"),
    Family.IPV6: shell.fixed("ip route get 2600::1"),
}
