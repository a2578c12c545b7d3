"""A rule that is told to be unreachable translates nothing, and one that is not does."""

import pytest

from netfilter_exporter.kernel.families import Family
from support import inside
from support.router import CLIENT, WAN, Router

POST = "type nat hook postrouting priority 100;"
MASQUERADE = 'oifname "wan0" masquerade'


def nft(*chain, also=""):
    """Return the command for a table with a postrouting chain, and what else is in it."""
    return f"nft 'table ip t {{ {also} chain c {{ {POST} {'; '.join(chain)}; }}; }}'"


def legacy(*rules):
    """Return the commands that append to POSTROUTING."""
    return "; ".join(f"iptables-legacy -w -t nat -A POSTROUTING {rule}" for rule in rules)


CASES = {
    "nothing before": (nft(MASQUERADE), True),
    "accept before": (nft("accept", MASQUERADE), False),
    "return before": (nft("return", MASQUERADE), False),
    "a match before": (nft("tcp dport 1-65535 accept", MASQUERADE), True),
    "a jump that returns": (nft("jump d", MASQUERADE, also="chain d { return; };"), True),
    "a goto before": (nft("goto d", MASQUERADE, also="chain d { };"), False),
    "behind a hidden jump": (
        nft("accept", "jump d", also=f"chain d {{ {MASQUERADE}; }};"),
        False,
    ),
    "behind a map": (
        nft("meta l4proto vmap { udp : goto d }", also=f"chain d {{ {MASQUERADE}; }};"),
        True,
    ),
    "accept in another chain before": (
        nft(MASQUERADE, also="chain a { type nat hook postrouting priority 90; accept; };"),
        True,
    ),
    "IPv6 alone before": (
        nft("snat ip6 to fd78::1", MASQUERADE).replace("table ip ", "table inet "),
        True,
    ),
    "legacy, nothing before": (legacy("-o wan0 -j MASQUERADE"), True),
    "legacy, accept before": (legacy("-j ACCEPT", "-o wan0 -j MASQUERADE"), False),
    "legacy, a commented return before": (
        legacy("-m comment --comment x -j RETURN", "-o wan0 -j MASQUERADE"),
        False,
    ),
    "legacy, another interface before": (
        legacy("-o lan0 -j ACCEPT", "-o wan0 -j MASQUERADE"),
        True,
    ),
}


@pytest.mark.parametrize(("rules", "translates"), CASES.values(), ids=CASES)
def test_what_is_unreachable_does_not_translate(namespaces, rules, translates):
    """A real datagram through a real router is translated just when the rule can be reached."""
    network = Router(namespaces)
    network.router.sh(rules)
    source = "legacy_ipv4" if rules.startswith("iptables") else "nftables"
    facts = network.router.call(inside.ruleset, source)
    assert sum(facts.rules[Family.IPV4, action] for _, action in facts.rules) >= 1
    told = not any(n for label, n in facts.unreachable.items() if label.family is Family.IPV4)
    assert (network.source() == WAN) is translates
    assert told is translates


def test_a_dormant_table_does_not_translate(namespaces):
    """Its rules are listed, told apart, and without effect; waking it is seen."""
    network = Router(namespaces)
    network.router.sh(nft(MASQUERADE, also="flags dormant;"))
    facts = network.router.call(inside.ruleset, "nftables")
    assert (facts.dormant, +facts.rules) == ({(Family.IPV4, "t"): 1}, {})
    assert network.source() == CLIENT
    network.router.sh("nft 'add table ip t { ; }'")
    facts = network.router.call(inside.ruleset, "nftables")
    assert not facts.dormant
    assert network.source(port=7008) == WAN


def test_legacy_rules_that_change_places_are_seen(namespaces):
    """A table of the same size and numbers is another one, and the next look tells."""
    network = Router(namespaces)
    network.router.sh(legacy("-o wan0 -j MASQUERADE", "-j ACCEPT"))
    before = network.router.call(inside.ruleset, "legacy_ipv4")
    assert (network.source(), sum(before.unreachable.values())) == (WAN, 0)
    network.router.sh(
        "iptables-legacy -w -t nat -D POSTROUTING 2; iptables-legacy -w -t nat -I POSTROUTING"
        " -j ACCEPT"
    )
    after = network.router.call(inside.ruleset, "legacy_ipv4")
    assert (network.source(port=7008), sum(after.unreachable.values())) == (CLIENT, 1)
