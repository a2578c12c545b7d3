"""What real tools write is decoded into the same matches, whichever backend holds it."""

import ipaddress

import pytest

from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.nft.tables import read_tables
from netfilter_exporter.kernel.xtables.tables import parse_table, read_entries
from netfilter_exporter.rules.detail import NatTarget, Queue
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import (
    Bits,
    Field,
    InSet,
    Opaque,
    named,
    narrowed,
    ranged,
)
from support import inside
from support.rules import covers_all


def addresses(first, last):
    return tuple(int(ipaddress.IPv4Address(address)) for address in (first, last))


def source(first, last, *, negated=False):
    return ranged(Field.SOURCE_IPV4, [addresses(first, last)], negated=negated)


def destination(first, last, *, negated=False):
    return ranged(Field.DESTINATION_IPV4, [addresses(first, last)], negated=negated)


def out(name):
    return named(Field.OUTPUT_INTERFACE, name.encode() + b"\0")


TCP = ranged(Field.PROTOCOL, [(6, 6)])
UDP = ranged(Field.PROTOCOL, [(17, 17)])
NET = source("10.1.2.0", "10.1.2.255")

#: A rule of nft, the same for iptables where there is one, its matches, its target and its queue.
RULES = {
    "a prefix and an uplink": (
        'oifname "wan0" ip saddr 10.1.2.0/24 masquerade',
        "-s 10.1.2.0/24 -o wan0 -j MASQUERADE",
        {NET, out("wan0")},
        None,
    ),
    "a negated prefix": (
        "ip daddr != 10.0.0.0/9 accept",
        "! -d 10.0.0.0/9 -j ACCEPT",
        {destination("10.0.0.0", "10.127.255.255", negated=True)},
        None,
    ),
    "a wildcard": (
        'oifname "eth*" accept',
        "-o eth+ -j ACCEPT",
        {named(Field.OUTPUT_INTERFACE, b"eth")},
        None,
    ),
    "a range of addresses": (
        "ip saddr 10.0.0.1-10.0.0.9 accept",
        "-m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT",
        {source("10.0.0.1", "10.0.0.9")},
        None,
    ),
    "ports, and a target with ports": (
        "tcp dport 1000-2000 snat to 1.2.3.4-1.2.3.9:100-200",
        "-p tcp --dport 1000:2000 -j SNAT --to-source 1.2.3.4-1.2.3.9:100-200",
        {TCP, ranged(Field.DESTINATION_PORT, [(1000, 2000)])},
        NatTarget(Family.IPV4, addresses("1.2.3.4", "1.2.3.9"), (100, 200)),
    ),
    "several ports": (
        None,
        "-p udp -m multiport --sports 53,1000:2000 -j ACCEPT",
        {UDP, ranged(Field.SOURCE_PORT, [(53, 53), (1000, 2000)])},
        None,
    ),
    "bits of the mark": (
        "meta mark & 0x30 == 0x10 accept",
        "-m mark --mark 0x10/0x30 -j ACCEPT",
        {Bits(Field.MARK, 0x30, 0x10)},
        None,
    ),
    "states": (
        "ct state new,related accept",
        "-m conntrack --ctstate NEW,RELATED -j ACCEPT",
        {ranged(Field.CT_STATE, [(4, 4), (8, 8)])},
        None,
    ),
    "what is local": (
        "fib daddr type local accept",
        "-m addrtype --dst-type LOCAL -j ACCEPT",
        {ranged(Field.DESTINATION_TYPE, [(2, 2)])},
        None,
    ),
    "an owner": (
        "meta skuid 5-7 accept",
        "-m owner --uid-owner 5-7 -j ACCEPT",
        {ranged(Field.USER, [(5, 7)])},
        None,
    ),
    "a set": ("ip saddr @s accept", None, {InSet((Field.SOURCE_IPV4,), "s")}, None),
    "a concatenation": (
        "ip daddr . meta l4proto . th dport @c accept",
        None,
        {InSet((Field.DESTINATION_IPV4, Field.PROTOCOL, Field.DESTINATION_PORT), "c")},
        None,
    ),
    "neighbors": (
        "ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept",
        "-s 10.0.0.1 -d 10.0.0.2 -j ACCEPT",
        {source("10.0.0.1", "10.0.0.1"), destination("10.0.0.2", "10.0.0.2")},
        None,
    ),
    "something random": (
        "numgen random mod 2 == 0 accept",
        "-m statistic --mode random --probability 0.5 -j ACCEPT",
        None,
        None,
    ),
}
TABLE = """table ip t {
  set s { type ipv4_addr; flags interval; }
  set c { type ipv4_addr . inet_proto . inet_service; }
  chain post { type nat hook postrouting priority 100; %s; }
}"""


def details(backend):
    """Return the matches, the target and the queue of each rule at postrouting."""
    snapshot = inside.host().snapshot(timeout=60.0)
    try:
        if backend == "legacy":
            xtables = snapshot.system.xtables(Family.IPV4)
            info, entries = read_entries(xtables, "nat")
            tables = [parse_table(entries, info, Family.IPV4, "nat")]
        else:
            tables = read_tables(lambda _: snapshot.connection(NETLINK_NETFILTER), Maps()).tables
    finally:
        snapshot.close()
    return [
        (frozenset(narrowed(detail.matches)), detail.nat, detail.form.queue)
        for table in tables
        for name in table.chains
        if name.lower().startswith("post")
        for detail in table.details(name)
    ]


def judged(found, matches, target):
    """Compare one rule with what is expected; None stands for a match that covers nothing."""
    ((accepted, nat, queue),) = found
    assert (nat, queue) == (target, None)
    if matches is None:
        assert any(isinstance(match, Opaque) and not match.stable for match in accepted)
        assert not covers_all(tuple(accepted), tuple(accepted))
    else:
        assert accepted == matches
        assert covers_all(tuple(accepted), tuple(accepted))


@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_nft(namespace, name):
    """As nft writes it: with loads that it joins, shortens, and puts into other byte orders."""
    rule, _, matches, target = RULES[name]
    if rule:
        namespace.run("nft", "-f", "-", stdin=TABLE % rule)
        judged(namespace.call(details, "nftables"), matches, target)


@pytest.mark.parametrize("version", ["nft", "legacy"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_iptables(namespace, name, version):
    """The same matches in both backends."""
    _, rule, matches, target = RULES[name]
    if rule:
        namespace.sh(f"iptables-{version} -w -t nat -A POSTROUTING {rule}")
        judged(namespace.call(details, version), matches, target)


@pytest.mark.parametrize("version", ["nft", "legacy"])
def test_a_queue(namespace, version):
    """Its numbers, and what becomes of packets where nobody listens."""
    rule = "-j NFQUEUE --queue-balance 3:5 --queue-bypass"
    namespace.sh(f"iptables-{version} -w -t nat -A POSTROUTING {rule}")
    ((matches, _, queue),) = namespace.call(details, version)
    assert (matches, queue) == (frozenset(), Queue(3, 5, bypass=True))
