"""Collector nat: the rules that translate, in both backends, and what keeps them from doing so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Callable

from netfilter_exporter.collectors.base import (
    Collector,
    Metric,
    Sample,
    by_label,
    one_for,
    value,
)
from netfilter_exporter.config.model import Role
from netfilter_exporter.facts import expected
from netfilter_exporter.facts.capabilities import capabilities_needed
from netfilter_exporter.facts.engines import other_engines, stateless_nat
from netfilter_exporter.facts.forwarding import interfaces, ipvs_nat
from netfilter_exporter.facts.helpers import unassigned_helpers
from netfilter_exporter.facts.hits import nat_counters, nat_hits
from netfilter_exporter.facts.matchability import named_in_sets, unmatched
from netfilter_exporter.facts.roles import forwarded_rules, overlapping_backends
from netfilter_exporter.facts.rulesets import nftables, readable, rulesets
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.facts.zones import split_zones
from netfilter_exporter.hits.account import Hits
from netfilter_exporter.kernel import addresses, route
from netfilter_exporter.kernel.errors import or_none, raise_worst
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.matchability import Reason
from netfilter_exporter.rules.model import Action, is_among
from netfilter_exporter.rules.reachability import BaseChain, RulesetFacts

_RULES = "nftables: NFT_MSG_GETRULE; legacy: IPT_SO_GET_ENTRIES"


def _base_chains(
    numbers: Callable[[RulesetFacts], dict[BaseChain, int]],
) -> Callable[[Snapshot], Iterable[Sample]]:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for backend, _, facts in readable(snapshot):
            for (family, table, chain, hook), count in numbers(facts).items():
                yield (backend.value, family.value, table, chain, hook.label), count

    return samples


def _is_readable(snapshot: Snapshot) -> Iterable[Sample]:
    for ruleset in rulesets(snapshot):
        for family in ruleset.families:
            yield (ruleset.backend.value, family.value), int(ruleset.facts is not None)


def _rules(snapshot: Snapshot) -> Iterable[Sample]:
    for backend, families, facts in readable(snapshot):
        for family in families:
            for action in Action:
                yield (backend.value, family.value, action.value), facts.rules[family, action]


def _forwarded_rules(snapshot: Snapshot) -> Iterable[Sample]:
    for family in Family:
        facts = [ruleset.facts for ruleset in rulesets(snapshot) if family in ruleset.families]
        count = forwarded_rules(snapshot)[family]
        if count or None not in facts:  # a 0 is served only where all could be read
            yield (family.value,), count


def _numbered_tables(
    numbers: Callable[[RulesetFacts], Mapping[tuple[Family, str], int]],
) -> Callable[[Snapshot], Iterable[Sample]]:
    """Return the samples of those tables that have a number."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for backend, _, facts in readable(snapshot):
            for (family, table), number in numbers(facts).items():
                yield (backend.value, family.value, table), number

    return samples


def _tables(
    numbers: Callable[[RulesetFacts], Mapping[tuple[Family, str], int]],
) -> Callable[[Snapshot], Iterable[Sample]]:
    """Return the samples of a number of each table, 0 where there is none."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for backend, _, facts in readable(snapshot):
            found = numbers(facts)
            for family, table in facts.table_rules:
                yield (backend.value, family.value, table), found.get((family, table), 0)

    return samples


def _translating_rules(snapshot: Snapshot) -> Iterable[Sample]:
    for backend, _, facts in readable(snapshot):
        found: Counter[tuple[str, ...]] = Counter()
        for each in facts.preconditions:
            for (family, hook, action), count in each.translating.items():
                found[family.value, each.table, hook.label, action.value] += count
        for labels, count in sorted(found.items()):
            yield (backend.value, *labels), count


def _dormant_rules(snapshot: Snapshot) -> Iterable[Sample]:
    for (family, table), count in nftables(snapshot).facts.dormant.items():
        yield (family.value, table), count


def _missing_interfaces(snapshot: Snapshot) -> Iterable[Sample]:
    named = {
        (backend.value, family.value, chain, interface)
        for backend, _, facts in readable(snapshot)
        for family, chain, interface in facts.interfaces
        if not is_among(interface, interfaces(snapshot))
    }
    in_sets = named_in_sets(unmatched(snapshot))
    named.update((owner.value, family.value, chain, name) for owner, family, chain, name in in_sets)
    for labels in sorted(named):
        yield labels, 1


def _unmatchable(snapshot: Snapshot) -> Iterable[Sample]:
    found: Counter[tuple[str, str, str, str]] = Counter()
    for backend, _, facts in readable(snapshot):
        for family, table in facts.table_rules:
            found[backend.value, family.value, table, Reason.EMPTY_SET.value] += 0
    for owner, each in unmatched(snapshot).rules:
        if each.cause.reason is Reason.NO_LISTENER and each.cause.changes:
            continue  # it may be refused on purpose
        for family in each.rule.families:
            found[owner.value, family.value, each.table, each.cause.reason.value] += 1
    yield from sorted(found.items())


def _missing_addresses(snapshot: Snapshot) -> Iterable[Sample]:
    for backend, table, family, number in unmatched(snapshot).addresses:
        yield (backend.value, family.value, table, addresses.written(family, number)), 1


def _uncovered_egress(snapshot: Snapshot) -> Iterable[Sample]:
    for family, interface, uncovered in unmatched(snapshot).egresses:
        yield (family.value, interface), int(uncovered)


def _split_zone(snapshot: Snapshot) -> Iterable[Sample]:
    for family, interface in dict.fromkeys(s[:2] for s in split_zones(snapshot)):
        yield (family.value, interface), 1


def _notrack_rules(snapshot: Snapshot) -> Iterable[Sample]:
    for backend, families, facts in readable(snapshot):
        for family in families:
            yield (backend.value, family.value), facts.notrack[family]


def _translations(snapshot: Snapshot) -> Iterable[Sample]:
    for backend, hits in _hits(snapshot):
        for (family, action), number in sorted(hits.translations.items(), key=_by_value):
            yield (backend.value, family.value, action.value), number
    or_none(lambda: nat_counters(snapshot))  # the source says why some are missing


def _by_value(item: tuple[tuple[Family, Action], int]) -> tuple[str, str]:
    return item[0][0].value, item[0][1].value


def _counted_rules(snapshot: Snapshot) -> Iterable[Sample]:
    for backend, hits in _hits(snapshot):
        for family in Family:
            if family in hits.counted:
                yield (backend.value, family.value), hits.counted[family]


def _named_translations(snapshot: Snapshot) -> Iterable[Sample]:
    found: Counter[str] = Counter()
    for _, hits in _hits(snapshot):
        found.update(hits.named)
    return (((name,), number) for name, number in found.items())


def _hits(snapshot: Snapshot) -> Iterable[tuple[Backend, Hits]]:
    """Yield the hits of each ruleset of which they are known."""
    for each in or_none(lambda: nat_hits(snapshot)) or ():
        if each.hits:
            yield each.backend, each.hits


def _expected(snapshot: Snapshot) -> Iterable[Sample]:
    for family in Family:
        role = snapshot.host.config.nat.role(family)
        if role is not Role.AUTO:
            yield (family.value,), int(role is Role.REQUIRED)


def _in_order(families: Collection[Family]) -> list[str]:
    return [family.value for family in Family if family in families]


def _expected_present(snapshot: Snapshot) -> Iterable[Sample]:
    for kind, name, is_there in expected.presence(snapshot):
        if is_there is not None:
            yield (kind, name), int(is_there)
    raise_worst(expected.unread(snapshot))


COLLECTOR = Collector(
    "nat",
    "NAT rules in nftables and iptables, and whether they can work",
    budget=105,
    dumps=frozenset({addresses.RTM_GETADDR, route.RTM_GETRULE}),
    metrics=(
        Metric(
            "nat_readable",
            "Whether the ruleset was read in this scrape, or is known to be empty (1), or not (0).",
            source=_RULES,
            samples=_is_readable,
            of=(rulesets,),
            labels=("backend", "family"),
        ),
        Metric(
            "nat_chain_rules",
            "Number of rules in each NAT base chain, of any kind, reachable or not.",
            source=_RULES,
            samples=_base_chains(lambda facts: facts.chain_rules),
            of=(rulesets,),
            labels=("backend", "family", "table", "chain", "hook"),
            bounded=True,
        ),
        Metric(
            "nat_rules",
            "Number of translating rules in chains that a NAT hook leads to, user chains"
            " included, dormant tables excluded. Shadowed rules are counted too. A rule of an inet"
            " table counts in each family that it can translate.",
            source=_RULES,
            samples=_rules,
            of=(rulesets,),
            labels=("backend", "family", "action"),
        ),
        Metric(
            "nat_translations_total",
            "Number of packets that matched a translating rule with a counter, since the exporter"
            " started: in most cases one for each new connection. Read every 15 to 45 s. A rule of"
            " an inet table counts in each family that it can translate. Absent for actions without"
            " such a rule, and if there are too many to read.",
            source=_RULES,
            samples=_translations,
            labels=("backend", "family", "action"),
        ),
        Metric(
            "nat_counted_rules",
            "Number of translating rules of which all matches since the previous reading are"
            " counted. Rules without a counter do not count, nor does a new rule if its counter was"
            " not 0 when it was first read. Absent if no rule has a counter, and if there"
            " are too many to read.",
            source=_RULES,
            samples=_counted_rules,
            labels=("backend", "family"),
        ),
        Metric(
            "nat_rule_translations_total",
            "The same as netfilter_nat_translations_total, of rules listed under `expect.rules` in"
            " the configuration.",
            source=_RULES,
            samples=_named_translations,
            labels=("name",),
            bounded=True,
        ),
        Metric(
            "nat_forwarded_rules",
            "Number of translating rules for forwarded traffic. Rules that only local packets"
            " match, or that send packets to an address of this host, do not count. Absent if no"
            " rule was found and a ruleset could not be read.",
            source=f"{_RULES}; RTM_GETADDR",
            samples=_forwarded_rules,
            labels=("family",),
        ),
        Metric(
            "nat_duplicate_rules",
            "Number of translating rules that are identical to an earlier rule of their chain."
            " They count in netfilter_nat_rules too.",
            source=_RULES,
            samples=_tables(lambda facts: facts.in_full.duplicates),
            of=(rulesets,),
            labels=("backend", "family", "table"),
            bounded=True,
        ),
        Metric(
            "nat_backends_overlap",
            "Whether a packet may match translating rules of both nftables and iptables-legacy at"
            " the same hook (1) or not (0). Absent if a ruleset could not be read.",
            source=_RULES,
            samples=by_label(overlapping_backends),
            labels=("family",),
        ),
        Metric(
            "nat_table_rules",
            "Number of rules of any kind in a table that are reachable from its NAT hooks, in"
            " user chains too.",
            source=_RULES,
            samples=_numbered_tables(lambda facts: facts.table_rules),
            of=(rulesets,),
            labels=("backend", "family", "table"),
            bounded=True,
        ),
        Metric(
            "nat_table_translating_rules",
            "Number of translating rules of a table in chains that the hook leads to. Shadowed"
            " rules are counted too. Absent if there are none.",
            source=_RULES,
            samples=_translating_rules,
            of=(rulesets,),
            labels=("backend", "family", "table", "hook", "action"),
            bounded=True,
        ),
        Metric(
            "nat_unreachable_rules",
            "Number of translating rules that no packet of the base chain reaches, because an"
            " earlier rule matches the same packets and ends the evaluation.",
            source=_RULES,
            samples=_base_chains(lambda facts: facts.unreachable),
            of=(rulesets,),
            labels=("backend", "family", "table", "chain", "hook"),
            bounded=True,
        ),
        Metric(
            "nat_hidden_exemptions",
            "Number of rules that exempt packets from translation and have no effect, because an"
            " earlier rule translates all of these packets. Absent if there are none.",
            source=_RULES,
            samples=_numbered_tables(lambda facts: facts.hidden_exemptions),
            of=(rulesets,),
            labels=("backend", "family", "table"),
            bounded=True,
        ),
        Metric(
            "nat_undecided_rules",
            "Number of translating rules that an earlier rule may shadow. The exporter cannot"
            " decide, because it does not understand a match of the earlier rule.",
            source=_RULES,
            samples=_tables(lambda facts: facts.undecided),
            of=(rulesets,),
            labels=("backend", "family", "table"),
            bounded=True,
        ),
        Metric(
            "nat_dormant_rules",
            "Number of translating rules in nftables tables with the flag dormant: listed,"
            " without effect.",
            source="NFT_MSG_GETTABLE, NFT_MSG_GETRULE",
            samples=_dormant_rules,
            of=(nftables,),
            labels=("family", "table"),
            bounded=True,
        ),
        Metric(
            "nat_missing_interface",
            "1 for an interface that does not exist but is named by a translating rule, or by the"
            " jump to the chain of that rule. For a set: only if none of its interfaces exists.",
            source=f"{_RULES}; if_nameindex(3)",
            samples=_missing_interfaces,
            of=(rulesets, interfaces, unmatched),
            labels=("backend", "family", "chain", "interface"),
            bounded=True,
        ),
        Metric(
            "nat_unmatchable_rules",
            "Number of translating rules that have no effect, by reason: empty_set (this"
            " series is present also at 0), missing_interface, bridge_port (the interface is a"
            " port of a bridge or bond), missing_address (a rule for incoming traffic matches a"
            " destination that the host does not have), route_localnet (the rule sends packets to"
            " 127.0.0.0/8 and the kernel drops them), untracked (notrack rules exempt all that"
            " arrives and that the rule may match), no_listener (the rule sends TCP or UDP to a"
            " port of this host where nothing listens and something did within the last day,"
            " since the exporter started), dropped (the rule sends connections to another host,"
            " and a chain drops all of them, all packets but the first, or all replies). Unless NAT"
            " is required, source NAT with an empty set counts only if a private network behind"
            " this host leads to the internet. Covers the first 256 rules of each table.",
            source=f"{_RULES}; NFT_MSG_GETSETELEM; IPSET_CMD_LIST; RTM_GETROUTE; /proc/net/tcp,"
            " udp",
            samples=_unmatchable,
            of=(rulesets, unmatched),
            labels=("backend", "family", "table", "reason"),
            bounded=True,
        ),
        Metric(
            "nat_missing_address",
            "1 for an SNAT address that is in the network of one of this host's interfaces, but"
            " that neither this host nor a known neighbor has. Absent otherwise. Also absent if"
            " proxy ARP answers for the address, if VRRP runs on that interface, and if unknown.",
            source=f"{_RULES}; RTM_GETROUTE; RTM_GETNEIGH",
            samples=_missing_addresses,
            of=(unmatched,),
            labels=("backend", "family", "table", "address"),
            bounded=True,
        ),
        Metric(
            "nat_uncovered_egress",
            "1 if no rule that translates sources can match the packets that leave through the"
            " interface, 0 if one can. Only for interfaces that lead from private networks to the"
            " internet, and only if rules that translate sources exist. If such rules cover one of"
            " these interfaces, the others have no series: an uncovered second uplink is not"
            " detected. Absent if such rules are only for packets to private networks.",
            source=f"{_RULES}; RTM_GETROUTE; RTM_GETADDR",
            samples=_uncovered_egress,
            of=(unmatched,),
            labels=("family", "interface"),
            bounded=True,
        ),
        Metric(
            "nat_split_zone",
            "1 for an interface to a private network whose packets are in another conntrack zone"
            " than packets from the uplink, so that replies match no entry. Only if rules"
            " translate sources. Absent otherwise, and if unknown.",
            source=f"{_RULES}; RTM_GETROUTE; RTM_GETADDR",
            samples=_split_zone,
            of=(split_zones,),
            labels=("family", "interface"),
            bounded=True,
        ),
        Metric(
            "nat_unassigned_helper",
            "1 for a conntrack helper (ftp, sip, ...) that is loaded, or defined in nftables, and"
            " that no rule assigns to connections. Only on hosts with translating rules. Absent"
            " otherwise.",
            source=f"/proc/modules; {_RULES}; NFT_MSG_GETOBJ",
            samples=one_for(unassigned_helpers),
            of=(unassigned_helpers,),
            labels=("helper",),
        ),
        Metric(
            "nat_matchable_source_rules",
            "Number of rules that translate the source of outgoing packets and that some packet"
            " may match. A dynamic set (one that packets or timeouts change) counts as not empty."
            " Absent if there are no such rules, and if a ruleset could not be read. Unless NAT is"
            " required, absent in place of 0 if all sets are empty and no private network behind"
            " this host leads to the internet.",
            source=f"{_RULES}; NFT_MSG_GETSETELEM; RTM_GETROUTE; RTM_GETADDR; --config.file: nat",
            samples=by_label(lambda s: dict(unmatched(s).sources)),
            of=(unmatched,),
            labels=("family",),
        ),
        Metric(
            "nat_other_engine",
            "Whether an engine that translates without rules is in use (1) or not (0): tc,"
            " openvswitch, ebpf. Its translations are out of scope. Absent if unknown.",
            source="/proc/modules; if_nameindex(3)",
            samples=by_label(other_engines),
            of=(other_engines,),
            labels=("engine",),
        ),
        Metric(
            "nat_expected",
            "Whether this host must do NAT (1) or must not (0), from the configuration. Absent if"
            " not configured.",
            source="--config.file: nat",
            samples=_expected,
            labels=("family",),
        ),
        Metric(
            "nat_ipvs",
            "1 for a family in which IPVS does NAT, which requires no rule. Absent otherwise.",
            source="/proc/net/ip_vs",
            samples=one_for(lambda s: _in_order(ipvs_nat(s))),
            labels=("family",),
        ),
        Metric(
            "nat_stateless",
            "1 for a family in which a rule writes addresses into packets without connection"
            " tracking: `ip saddr set` and its like in nftables, SNPT and DNPT of iptables. Such"
            " NAT requires no translating rule, and its connections are not judged. Absent"
            " otherwise.",
            source=_RULES,
            samples=one_for(lambda s: _in_order(stateless_nat(s))),
            of=(stateless_nat,),
            labels=("family",),
        ),
        Metric(
            "expected_present",
            "Whether the rule, interface or module listed under `expect` in the configuration is"
            " present (1) or absent (0).",
            source="--config.file: expect",
            samples=_expected_present,
            labels=("kind", "name"),
        ),
        Metric(
            "notrack_rules",
            "Number of rules that exempt packets from connection tracking, and so from NAT.",
            source=_RULES,
            samples=_notrack_rules,
            of=(rulesets,),
            labels=("backend", "family"),
        ),
        Metric(
            "nftables_generation",
            "Generation of the nftables ruleset. Increases with every committed change.",
            source="NFT_MSG_GETGEN",
            samples=value(lambda s: nftables(s).generation),
        ),
        Metric(
            "capability_needed",
            "Whether a translating rule, or the configured role, requires the capability (1) or"
            " not (0).",
            source=f"{_RULES}; --config.file: nat",
            samples=by_label(capabilities_needed),
            of=(capabilities_needed,),
            labels=("capability",),
        ),
    ),
)
