"""A rule that is told to be unreachable translates nothing, and one that is not does."""

import subprocess

import pytest

from netfilter_exporter.rules.families import Family
from support import inside
from support.page import Page
from support.router import CLIENT, WAN, Router
from support.serving import eventually

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
    "a jump to an accept before": (
        nft("jump d", MASQUERADE, also="chain d { tcp dport 1 drop; accept; };"),
        False,
    ),
    "a jump to an accept for some before": (
        nft("jump d", MASQUERADE, also="chain d { udp dport 7007 return; accept; };"),
        True,
    ),
    "a jump to a goto that comes back": (
        nft("jump d", MASQUERADE, also="chain e { }; chain d { goto e; accept; };"),
        True,
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
    "legacy, a jump to an accept before": (
        "iptables-legacy -w -t nat -N D; iptables-legacy -w -t nat -A D -j ACCEPT; "
        + legacy("-j D", "-o wan0 -j MASQUERADE"),
        False,
    ),
    "legacy, another interface before": (
        legacy("-o lan0 -j ACCEPT", "-o wan0 -j MASQUERADE"),
        True,
    ),
}

#: An earlier rule takes what a later one matches, or only seems to.
COVERED = {
    "the same match": (nft('oifname "wan0" accept', MASQUERADE), False),
    "a wider prefix": (nft("ip saddr 10.0.0.0/8 accept", f"ip saddr {CLIENT} masquerade"), False),
    "a narrower prefix": (
        nft("ip saddr 10.77.0.7 accept", "ip saddr 10.0.0.0/8 masquerade"),
        True,
    ),
    "another prefix": (
        nft("ip saddr 10.1.0.0/16 accept", "ip saddr 10.77.0.0/16 masquerade"),
        True,
    ),
    "a wildcard": (nft('oifname "wan*" accept', MASQUERADE), False),
    "a negated interface": (nft('oifname != "lan0" accept', MASQUERADE), False),
    "another interface": (nft('oifname "lan0" accept', MASQUERADE), True),
    "more matches": (nft('oifname "wan0" tcp dport 1-65535 accept', MASQUERADE), True),
    "a port in an interval": (
        nft("udp dport 7000-7100 accept", "udp dport 7007 masquerade"),
        False,
    ),
    "another protocol": (nft("tcp dport 7007 accept", "udp dport 7007 masquerade"), True),
    "a mark that is set in between": (
        nft("meta mark 7 accept", "meta mark set 7", "meta mark 7 masquerade"),
        True,
    ),
    "a mark that a chain sets in between": (
        nft(
            "meta mark 7 accept",
            "jump d",
            "meta mark 7 masquerade",
            also="chain d { mark set 7; };",
        ),
        True,
    ),
    "a mark that a chain compares and sets": (
        nft("jump d", "mark 7 masquerade", also="chain d { mark 7 accept; mark set 7; };"),
        True,
    ),
    "an accept in a chain before": (
        nft("jump d", MASQUERADE, also='chain d { oifname "wan0" accept; };'),
        False,
    ),
    "a return in a chain before": (
        nft("jump d", MASQUERADE, also='chain d { oifname "wan0" return; };'),
        True,
    ),
    "an accept behind a return": (
        nft(
            "jump d", MASQUERADE, also='chain d { udp dport 7007 return; oifname "wan0" accept; };'
        ),
        True,
    ),
    "an accept behind a return for others": (
        nft(
            "jump d", MASQUERADE, also='chain d { oifname "lan0" return; oifname "wan0" accept; };'
        ),
        False,
    ),
    "a jump for some to an accept": (
        nft("udp dport 7007 jump d", MASQUERADE, also='chain d { oifname "wan0" accept; };'),
        True,  # for TCP, and for the datagram not
    ),
    "a hidden jump": (
        nft('oifname "wan*" accept', 'oifname "wan0" jump d', also="chain d { masquerade; };"),
        False,
    ),
    "a goto": (nft('oifname "wan0" goto d', MASQUERADE, also="chain d { };"), False),
    "chance": (nft('oifname "wan0" limit rate over 1000/second accept', MASQUERADE), True),
    "legacy, the same match": (legacy("-o wan0 -j ACCEPT", "-o wan0 -j MASQUERADE"), False),
    "legacy, a wider prefix": (
        legacy("-s 10.0.0.0/8 -j RETURN", f"-s {CLIENT} -o wan0 -j MASQUERADE"),
        False,
    ),
    "legacy, wider ports": (
        legacy("-p udp --dport 7000:8000 -j ACCEPT", "-p udp --dport 7007 -j MASQUERADE"),
        False,
    ),
    "legacy, an accept in a chain before": (
        "iptables-legacy -w -t nat -N D; iptables-legacy -w -t nat -A D -o wan0 -j ACCEPT; "
        + legacy("-j D", "-o wan0 -j MASQUERADE"),
        False,
    ),
    "legacy, a mark that is set in between": (
        legacy("-m mark --mark 7 -j ACCEPT", "-m mark --mark 7 -j MASQUERADE")
        + "; iptables-legacy -w -t nat -N D; iptables-legacy -w -t nat -A D -j MARK --set-mark 7"
        "; iptables-legacy -w -t nat -I POSTROUTING 2 -j D",
        True,
    ),
    "a translation of another table, at an earlier priority": (
        nft(MASQUERADE) + "; nft 'table ip u { chain c { type nat hook postrouting priority 90;"
        ' oifname "wan0" snat to 198.51.100.7; }; }\'',
        False,
    ),
    "an accept of another table, at an earlier priority": (
        nft(MASQUERADE) + "; nft 'table ip u { chain c { type nat hook postrouting priority 90;"
        ' oifname "wan0" accept; }; }\'',
        True,
    ),
}
#: Rules that are reached, though not by the datagram that is sent.
FOR_OTHERS = {"a jump for some to an accept"}


@pytest.mark.parametrize(("rules", "reached"), COVERED.values(), ids=COVERED)
def test_what_is_covered_does_not_translate(namespaces, request, rules, reached):
    """A rule is told to be hidden by an earlier one just when a packet of its kind says so."""
    network = Router(namespaces)
    network.router.sh(rules)
    source = "legacy_ipv4" if rules.startswith("iptables") else "nftables"
    facts = network.router.call(inside.ruleset, source)
    assert (not any(facts.unreachable.values())) is reached
    name = request.node.callspec.id
    assert (network.source() == WAN) is (reached and name not in FOR_OTHERS)
    assert not facts.undecided, name


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


def count(namespace):
    """Return how many rules of nftables translate IPv4."""
    facts = namespace.call(inside.ruleset, "nftables")
    return sum(number for (family, _), number in facts.rules.items() if family is Family.IPV4)


MAPPED = (
    "table ip t { map m { type ipv4_addr : verdict; flags timeout; };"
    " chain a { masquerade; }; chain b { counter; };"
    f" chain post {{ {POST} ip daddr vmap {{ 10.0.0.1 : jump a }}; }}; }}\n"
)


def test_a_chain_that_is_renamed_is_still_reached(namespace):
    """A verdict map leads to a chain, not to a name, also where two change theirs."""
    namespace.run("nft", "-f", "-", stdin=MAPPED)
    assert count(namespace) == 1
    namespace.run("nft", "rename", "chain", "ip", "t", "a", "c")
    assert count(namespace) == 1
    namespace.sh("nft rename chain ip t b a; nft rename chain ip t c b")
    assert count(namespace) == 1


def test_a_table_that_goes_with_its_owner_is_seen_at_once(namespace):
    """The kernel removes it without another generation of the ruleset."""
    table = MAPPED.replace("table ip t {", "table ip t { flags owner; ")
    command = ("nsenter", f"--net=/run/netns/{namespace.name}", "nft", "-i")
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as owner:
        owner.stdin.write(table)
        owner.stdin.flush()
        eventually(lambda: count(namespace) == 1)
        before = namespace.call(inside.generation)
        owner.stdin.close()
        eventually(lambda: "table ip t" not in namespace.run("nft", "list", "tables"))
        assert (count(namespace), namespace.call(inside.generation)) == (0, before)


def test_an_element_that_expires_is_seen_at_once(namespace):
    """What only it led to is reached no more, in the same generation."""
    named = MAPPED.replace("vmap { 10.0.0.1 : jump a }", "vmap @m")
    namespace.run("nft", "-f", "-", stdin=named)
    namespace.run("nft", "add element ip t m { 10.0.0.1 timeout 4s : jump a }")
    before = namespace.call(inside.generation)
    assert count(namespace) == 1
    eventually(lambda: "expires" not in namespace.run("nft", "list", "map", "ip", "t", "m"))
    assert (count(namespace), namespace.call(inside.generation)) == (0, before)


def test_an_interface_that_was_made_anew_is_missed_by_its_index(namespaces):
    """oif keeps a number: the rule is listed, and translates nothing any more."""
    network = Router(namespaces)
    network.router.sh(nft('oif "wan0" masquerade'))
    needed = network.router.call(inside.ruleset, "nftables").interfaces
    assert network.source() == WAN
    network.router.sh("ip link add dummy0 type veth peer name dummy1")
    network.router.sh(nft('oif "dummy0" masquerade').replace("table ip t", "table ip u"))
    after = network.router.call(missing)
    network.router.sh("ip link del dummy0; ip link add dummy0 type veth peer name dummy1")
    assert (len(needed), after) == (1, [])
    (gone,) = network.router.call(missing)
    assert f"oif {gone.removeprefix('index ')} " in network.router.run("nft", "list", "table", "u")


def missing():
    """Return the interfaces that rules need and the host lacks; inside a namespace."""
    page = Page(inside.scrape(("nat",)))
    return [sample.labels["interface"] for sample in page.samples("nat_missing_interface")]
