"""Rules that write addresses: how both backends show them, and which packets come to them."""

import pytest

from netfilter_exporter.kernel.nft.rules import parse_rule
from netfilter_exporter.rules.families import BOTH, IPV4, IPV6, Backend, Hook
from netfilter_exporter.rules.model import Chain, Rule, Table
from netfilter_exporter.rules.rewriting import rewritten
from support import nft

NETWORK, TRANSPORT = 1, 2


def written(base, offset, size, family=nft.IP):
    """Return whether a rule that writes these bytes of a packet writes an address."""
    expression = nft.expression(
        "payload", nft.number(5, 1), *map(nft.number, (2, 3, 4), (base, offset, size))
    )
    return parsed(expression, family).rewrites


def parsed(expression, family=nft.IP):
    """Return the rule of one expression."""
    message = memoryview(nft.rule(expression, family=family))
    return parse_rule(message).make(message)[2]


@pytest.mark.parametrize(
    ("what", "family", "place", "expected"),
    [
        ("ip saddr", nft.IP, (NETWORK, 12, 4), True),
        ("ip daddr", nft.INET, (NETWORK, 16, 4), True),
        ("both at once", nft.IP, (NETWORK, 12, 8), True),
        ("ip ttl, with the protocol", nft.IP, (NETWORK, 8, 2), False),
        ("ip6 saddr", nft.IP6, (NETWORK, 8, 16), True),
        ("a prefix of ip6 daddr", nft.IP6, (NETWORK, 24, 8), True),
        ("ip6 hoplimit", nft.IP6, (NETWORK, 6, 2), False),
        ("ip dscp", nft.INET, (NETWORK, 0, 2), False),
        ("a port", nft.IP, (TRANSPORT, 12, 4), False),
    ],
)
def test_what_nftables_writes(what, family, place, expected):
    """Addresses alone are NAT; all else is mangling."""
    assert written(*place, family=family) is expected, what


def test_targets_of_nptv6():
    """SNPT and DNPT write addresses, other targets do not."""
    names = ("SNPT", "DNPT", "TOS", "SNAT")
    found = [parsed(nft.xt_target(name), nft.IP6).rewrites for name in names]
    assert found == [True, True, False, False]


WRITES = Rule(conditional=True, rewrites=True)


def families(chains, families=BOTH, maps=None):
    """Return the families of a table whose addresses are written."""
    return rewritten(Table(Backend.NFTABLES, families, "t", chains, maps or {}))


def test_where_forwarded_packets_come_by():
    """In a base chain on their way, or behind a jump or a verdict map; not at input."""
    target = {"u": Chain([WRITES])}
    assert families({"c": Chain([WRITES], Hook.POSTROUTING)}) == BOTH
    assert families({"c": Chain([WRITES], Hook.INPUT)}) == frozenset()
    assert families({"c": Chain([Rule()], Hook.PREROUTING), **target}) == frozenset()
    assert families({"c": Chain([Rule(targets=("u",))], Hook.PREROUTING), **target}) == BOTH
    by_map = {"c": Chain([Rule(maps=("m",))], Hook.FORWARD), **target}
    assert families(by_map, maps={"m": ("u",)}) == BOTH


def test_the_family_of_the_rule_and_of_its_table():
    """A rule of an inet table says which it is for."""
    rule = WRITES._replace(families=IPV4)
    assert families({"c": Chain([rule], Hook.POSTROUTING)}) == IPV4
    assert families({"c": Chain([WRITES], Hook.POSTROUTING)}, IPV6) == IPV6
