"""facts/passage.py: of what is blocked, that which something on the host serves."""

import pytest

from netfilter_exporter.facts import networks, passage
from netfilter_exporter.facts.forwarding import interfaces, ipv4_forwarding
from netfilter_exporter.facts.passage import blocked_interfaces, queue_listeners
from netfilter_exporter.facts.rulesets import Ruleset, rulesets
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.addresses import Network
from netfilter_exporter.rules.families import Backend, Family, Hook
from netfilter_exporter.rules.match import Field, InIpset, InSet, masked, named, ranged
from netfilter_exporter.rules.model import Action, Rule
from netfilter_exporter.rules.reachability import analyze
from support.rules import filter_table, matching, nat_table, verdict

ACCEPT = verdict("accept")
OUT = named(Field.OUTPUT_INTERFACE, b"wan0\0")
ESTABLISHED = matching(ACCEPT, ranged(Field.CT_STATE, [(2, 2)]))
INDICES = {"lo": 1, "lan0": 2, "wan0": 3, "vms": 4}


def source(text):
    """Return the match on an IPv4 /24."""
    number = int.from_bytes(bytes(map(int, text.split("."))), "big")
    return masked(Field.SOURCE_IPV4, 0xFFFFFF00, number)


def coming(name):
    return named(Field.INPUT_INTERFACE, name.encode() + b"\0")


def masquerade(*matches):
    return matching(Rule(action=Action.MASQUERADE), *matches)


@pytest.fixture
def blocked(fake_host, monkeypatch):
    """Return a function: what is reported of a host whose forward chain accepts `accepted`.

    It accepts replies, too, if nothing else is said.
    """
    snapshot = Host(fake_host("6.1/nat-nft").system).snapshot(10)
    found = [Network(2, 0x0A010000, 0x0A0100FF), Network(4, 0x0A020000, 0x0A0200FF)]
    monkeypatch.setattr(networks, "read_networks", lambda *_: found)
    monkeypatch.setattr(passage.route, "ask", lambda *_: None)

    def report(translations, *accepted, drops=True, other=(), replies=ESTABLISHED):
        tables = [
            nat_table(post=translations),
            filter_table(Hook.FORWARD, 0, *accepted, replies, drops=drops),
            filter_table(Hook.FORWARD, 5, *other),
        ]
        facts = analyze(tables)
        for fact, value in (
            (rulesets, (Ruleset(Backend.NFTABLES, tuple(Family), facts),)),
            (interfaces, INDICES),
            (ipv4_forwarding, {name: True for name in INDICES if name != "lo"}),
            (queue_listeners, frozenset()),
        ):
            snapshot.values[fact] = value
        snapshot.values.pop(blocked_interfaces, None)
        return [each.interface for each in blocked_interfaces(snapshot)]

    yield report
    snapshot.close()


def test_nothing_is_forwarded_for_a_rule_of_any_network(blocked):
    """All but the uplink are blocked: the rule serves nobody."""
    assert blocked([masquerade(OUT)]) == ["lan0", "vms"]
    uplinks = InSet((Field.OUTPUT_INTERFACE,), "uplinks")
    assert blocked([masquerade(OUT), masquerade(uplinks)]) == ["lan0", "vms"]


def test_a_network_that_is_closed(blocked):
    """Beside one that passes, it may be closed on purpose."""
    assert blocked([masquerade(OUT)], matching(ACCEPT, coming("lan0"))) == []


def test_a_network_that_a_rule_translates(blocked):
    """It is served, whatever others may do; so is one that a rule names."""
    rules = [masquerade(OUT, source("10.2.0.0"))]
    assert blocked(rules, matching(ACCEPT, coming("lan0"))) == ["vms"]
    rules = [masquerade(OUT, coming("vms"))]
    assert blocked(rules, matching(ACCEPT, coming("lan0"))) == ["vms"]


def test_the_network_that_a_general_rule_is_left_for(blocked):
    """Docker accepts and translates its own network; the other one is left without."""
    rules = [masquerade(source("10.2.0.0")), masquerade(OUT)]
    assert blocked(rules, matching(ACCEPT, coming("vms"))) == ["lan0"]


def test_a_network_that_another_chain_accepts(blocked):
    """What one tool lets pass, and another drops, was to pass."""
    lan, vms = (matching(ACCEPT, coming(name)) for name in ("lan0", "vms"))
    assert blocked([masquerade(OUT)], lan, other=[vms]) == ["vms"]


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (ESTABLISHED, []),
        (matching(ACCEPT, ranged(Field.CT_STATE, [(4, 4)])), ["wan0"]),  # related alone
        (matching(ACCEPT, coming("wan0")), []),
        (matching(ACCEPT, coming("wan0"), ranged(Field.CT_STATE, [(8, 8)])), ["wan0"]),
        (matching(ACCEPT, ranged(Field.DESTINATION_IPV4, [(1, 2)])), []),  # of some of them
        (matching(ACCEPT, ranged(Field.PROTOCOL, [(6, 6)])), ["wan0"]),  # none of UDP
        (matching(ACCEPT, ranged(Field.PROTOCOL, [(6, 6), (17, 17)])), []),
    ],
)
def test_an_uplink_from_which_no_reply_passes(blocked, replies, expected):
    """Though connections may be opened; where none may, nobody waits for a reply."""
    lan = matching(ACCEPT, coming("lan0"))
    assert blocked([masquerade(OUT)], lan, replies=replies) == expected
    closed = matching(ACCEPT, ranged(Field.CT_STATE, [(4, 4)]))
    assert "wan0" not in blocked([masquerade(OUT)], replies=closed)


def test_a_protocol_that_is_closed(blocked):
    """Nobody waits for its replies, whether none of its flows may leave or none by the uplink."""
    tcp, vms = ranged(Field.PROTOCOL, [(6, 6)]), named(Field.OUTPUT_INTERFACE, b"vms\0")
    lan, replies = coming("lan0"), matching(ACCEPT, tcp, ranged(Field.CT_STATE, [(2, 2)]))
    for accepted in [], [matching(ACCEPT, lan, vms)]:
        accepted.append(matching(ACCEPT, lan, tcp))
        assert "wan0" not in blocked([masquerade(OUT)], *accepted, replies=replies)


def test_a_network_to_which_no_reply_passes(blocked):
    """Replies to another pass; nobody waits for them where new flows do not leave by the uplink."""
    to_vms = named(Field.OUTPUT_INTERFACE, b"vms\0")
    replies = matching(ACCEPT, to_vms, ranged(Field.CT_STATE, [(2, 2)]))
    vms, lan = (matching(ACCEPT, coming(name)) for name in ("vms", "lan0"))
    assert blocked([masquerade(OUT)], vms, lan, replies=replies) == ["lan0"]
    inward = matching(ACCEPT, coming("lan0"), to_vms)
    assert blocked([masquerade(OUT)], vms, inward, replies=replies) == []


def test_a_network_whose_new_flows_alone_pass(blocked):
    """No data passes, and a handshake of TCP ends at its third packet."""
    new, wan = ranged(Field.CT_STATE, [(8, 8)]), coming("wan0")
    replies = matching(ACCEPT, wan, ranged(Field.CT_STATE, [(2, 2)]))
    lan = matching(ACCEPT, coming("lan0"), new)
    assert blocked([masquerade(OUT)], lan, replies=replies) == ["lan0"]
    assert blocked([masquerade(OUT)], matching(ACCEPT, new), replies=replies) == ["lan0", "vms"]
    assert blocked([masquerade(OUT)], lan) == []


@pytest.mark.parametrize(
    "match",
    [
        ranged(Field.MARK, [(7, 7)]),
        InSet((Field.SOURCE_IPV4,), "s"),
        InIpset(1, 1, 1),
        source("192.168.7.0"),
    ],
)
def test_rules_that_wait_for_others(blocked, match):
    """A rule for marked packets, a set or a network elsewhere serves no interface here."""
    assert blocked([masquerade(OUT, match)]) == []


def test_a_host_that_translates_nothing_of_others(blocked):
    """Without rules for forwarded traffic nothing is reported, nor where all may pass."""
    assert blocked([]) == []
    assert blocked([masquerade(OUT)], drops=False) == []
