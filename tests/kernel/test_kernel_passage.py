"""What is said to be blocked lets no datagram pass, or no answer, and what is not does."""

import pytest

from netfilter_exporter.facts.passage import queue_listeners
from support import inside
from support.namespace import Failed
from support.page import Page
from support.router import CLIENT, LAN, PORT, SERVER, WAN, Router

MASQUERADE = """
table ip n { chain p { type nat hook postrouting priority 100; oifname wan0 masquerade; }; }
"""


def base(hook, priority, *rules, policy="accept", also=""):
    """Return a ruleset of one filter chain beside the masquerade."""
    header = f"type filter hook {hook} priority {priority}; policy {policy};"
    return f"{MASQUERADE} table inet f {{ {also} chain f {{ {header} {'; '.join(rules)}; }}; }}"


REPLIES = "ct state established,related accept"
STATES = "ct state { established, related } accept"
PUBLISHED = "ct status dnat accept"
CASES = {
    "nothing drops": (MASQUERADE, True),
    "policy drop": (base("forward", 0, REPLIES, policy="drop"), False),
    "policy drop, pings pass": (
        base("forward", 0, REPLIES, "icmp type echo-request accept", policy="drop"),
        False,
    ),
    "policy drop, lan0 accepted": (
        base("forward", 0, REPLIES, "iifname lan0 oifname wan0 accept", policy="drop"),
        True,
    ),
    "policy drop, a chain accepts": (
        base("forward", 0, "jump d", policy="drop", also="chain d { iifname lan0 accept; };"),
        True,
        {"wan0"},
    ),
    "reject as the last rule": (base("forward", 0, REPLIES, "reject"), False),
    "drop for another interface": (base("forward", 0, "iifname vms drop"), True),
    "drop for the uplink": (base("forward", 0, "iifname wan0 drop"), True, {"wan0"}),
    "drop for the uplink of what is new": (
        base("forward", 0, "iifname wan0 ct state new drop"),
        True,
    ),
    "policy drop, replies accepted of related flows alone": (
        base("forward", 0, "iifname lan0 accept", "ct state related accept", policy="drop"),
        True,
        {"wan0"},
    ),
    "drop for the uplink of UDP": (
        base("forward", 0, "iifname wan0 meta l4proto udp drop"),
        True,
        {"wan0"},
    ),
    "policy drop, established accepted of TCP alone": (
        base("forward", 0, "iifname lan0 accept", f"meta l4proto tcp {REPLIES}", policy="drop"),
        True,
        {"wan0"},
    ),
    "policy drop, established accepted of TCP, and of DNS": (
        base(
            "forward",
            0,
            "iifname lan0 accept",
            f"meta l4proto tcp {REPLIES}",
            "udp sport { 53, 7007 } accept",
            policy="drop",
        ),
        True,
    ),
    "policy drop, UDP for another interface": (
        base(
            "forward",
            0,
            "iifname lan0 meta l4proto tcp accept",
            "iifname lan0 oifname dmz accept",
            f"meta l4proto tcp {REPLIES}",
            policy="drop",
        ),
        False,
        set(),
    ),
    "policy drop, what is established accepted of the uplink alone": (
        base("forward", 0, "ct state new accept", f"iifname wan0 {REPLIES}", policy="drop"),
        True,
        {"lan0"},
    ),
    "drop at postrouting": (base("postrouting", 0, "drop"), False),
    "drop at postrouting of replies": (
        base("postrouting", 0, f"{REPLIES[:-6]} drop"),
        True,
        {"lan0", "wan0"},
    ),
    "drop in raw": (base("prerouting", -300, "iifname lan0 drop"), False),
    "drop in mangle of what is routed": (
        base("prerouting", -150, "fib daddr type unicast drop"),
        False,
    ),
    "drop in mangle of what is local": (
        base("prerouting", -150, "fib daddr type local drop"),
        True,
    ),
    "a NAT chain with policy drop": (
        MASQUERADE + "table ip m { chain q { type nat hook prerouting priority -100; policy drop;"
        " tcp dport 80 dnat to 10.77.0.2; }; }",
        False,
    ),
    "replies by a set, as firewalld": (base("forward", 0, STATES, "reject"), False),
    "new flows by a set": (
        base("forward", 0, "ct state { established, new } accept", policy="drop"),
        True,
    ),
    "replies not in a set": (base("forward", 0, "ct state != { established, new } drop"), True),
    "published flows alone": (base("forward", 0, STATES, PUBLISHED, "reject"), False),
    "an accept in another table": (
        base("forward", 0, policy="drop")
        + "\ntable inet g { chain g { type filter hook forward priority -5; iif lan0 accept; }; }",
        False,
    ),
}


@pytest.fixture
def network(namespaces):
    """A client, a router without rules, and a server."""
    return Router(namespaces)


def blocked(network):
    """Return the interfaces that are said to be blocked."""
    page = Page(network.router.call(inside.scrape, ("forwarding",)))
    names = [sample.labels["interface"] for sample in page.samples("forward_blocked")]
    assert len(names) == len(set(names))
    return set(names)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_blocked_does_not_pass(network, case):
    """A datagram of the client comes to the server just when lan0 is not blocked.

    An answer comes back only if wan0 is not.
    """
    rules, passes, *also = case
    expected = also[0] if also else set() if passes else {"lan0"}
    network.router.run("nft", "-f", "-", stdin=rules)
    assert (network.source() == WAN) is passes
    assert blocked(network) == expected
    if expected:
        assert bool(network.answers()) is (passes and "wan0" not in expected)


@pytest.mark.parametrize(("interface", "passes"), [("lan0", True), ("wan0", False)])
def test_what_is_published_passes(network, interface, passes):
    """An interface is not blocked if a rule publishes something for it, and that passes."""
    published = f"iifname {interface} udp dport 9 dnat to {SERVER}:{PORT}"
    rules = f"""
    {base("forward", 0, STATES, PUBLISHED, "reject")}
    table ip d {{ chain d {{ type nat hook prerouting priority -100; {published}; }}; }}
    """
    network.router.run("nft", "-f", "-", stdin=rules)
    network.server.call(inside.listen, SERVER, PORT)
    network.client.call(inside.send, SERVER, 9)
    assert (network.server.call(inside.heard, SERVER, PORT) == WAN) is passes
    assert network.source() is None
    assert blocked(network) == (set() if passes else {"lan0"})


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("bypass", ["", "--queue-bypass"])
def test_a_queue_without_a_program(network, tool, bypass):
    """Nothing passes, unless packets bypass it; `check` names the queue."""
    network.router.run("nft", "-f", "-", stdin=MASQUERADE)
    try:
        network.router.sh(f"{tool} -t mangle -A FORWARD -i lan0 -j NFQUEUE --queue-num 3 {bypass}")
    except Failed:
        pytest.skip("this kernel has no NFQUEUE")
    assert (network.source() == WAN) is bool(bypass)
    assert blocked(network) == (set() if bypass else {"lan0"})
    found = network.router.call(inside.check, "network_namespace: any").found
    summaries = [text for name, _, text in found if name == "ForwardBlocked"]
    assert len(summaries) == (not bypass)
    assert all("hands them to queue 3, and no program listens" in text for text in summaries)


def test_one_bridge_of_two(network):
    """Another tool's policy kills the network that it does not know: that one alone is named."""
    network.router.sh(
        "ip link add vms type veth peer name vm0; ip address add 10.91.3.1/24 dev vms;"
        " ip link set vms up; ip link set vm0 up"
    )
    rules = """
    table inet vms {
      chain forward { type filter hook forward priority 0; iifname vms accept; };
      chain post { type nat hook postrouting priority 100; ip saddr 10.91.3.0/24 masquerade; };
    };
    table ip nat { chain p { type nat hook postrouting priority 100;
      ip saddr 10.77.0.0/24 oifname != lan0 masquerade; }; }
    table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop;
      iifname lan0 accept; oifname lan0 ct state established,related accept; }; }
    """
    network.router.run("nft", "-f", "-", stdin=rules)
    assert network.source() == WAN
    assert blocked(network) == {"vms"}
    checked = network.router.call(inside.check, "network_namespace: any")
    assert [(n, s) for n, s, _ in checked.found] == [("ForwardBlocked", "warning")]
    assert checked.code == 1
    network.router.sh("nft insert rule ip filter FORWARD iifname vms accept")
    assert blocked(network) == set()


def test_replies_to_one_network_of_two(network):
    """What leaves is accepted, and of replies those to another tool's bridge."""
    network.router.sh(
        "ip link add vms type veth peer name vm0; ip address add 10.91.3.1/24 dev vms;"
        " ip link set vms up; ip link set vm0 up"
    )
    accepts = "iifname vms accept", "iifname wan0 oifname vms ct state established accept"
    lan = "iifname lan0 accept"
    network.router.run("nft", "-f", "-", stdin=base("forward", 0, *accepts, lan, policy="drop"))
    assert (network.source(), network.answers()) == (WAN, 0)
    assert blocked(network) == {"lan0"}
    checked = network.router.call(inside.check, "network_namespace: any")
    assert [(n, s) for n, s, _ in checked.found] == [("ForwardBlocked", "warning")]
    assert "no reply to lan0 is forwarded" in checked.found[0][2]
    network.router.sh("nft add rule inet f f oifname lan0 ct state established accept")
    assert (network.answers(), blocked(network)) == (1, set())
    # Neither later packets pass nor replies: still one series.
    new = "iifname lan0 ct state new accept"
    rules = base("forward", 0, *accepts, new, policy="drop")
    network.router.run("nft", "-f", "-", stdin=f"flush ruleset\n{rules}")
    assert (network.answers(), blocked(network)) == (0, {"lan0"})


def test_a_network_that_is_closed_on_purpose(network):
    """Beside one that may pass, an interface that no rule serves is no fault."""
    network.router.sh(
        "ip link add iot type veth peer name iot0; ip address add 10.9.0.1/24 dev iot;"
        " ip link set iot up; ip link set iot0 up"
    )
    network.router.run(
        "nft", "-f", "-", stdin=base("forward", 0, REPLIES, "iifname lan0 accept", policy="drop")
    )
    assert network.source() == WAN
    assert blocked(network) == set()


BOGONS = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/3"
OTHERS = "172.16.0.0/12, 192.0.2.0/24"
LITERAL = [f"ip saddr {network} drop" for network in ("10.0.0.0/8", "172.16.0.0/12")]


def listed(*networks):
    """Return a set of networks."""
    return f"set l {{ type ipv4_addr; flags interval; elements = {{ {', '.join(networks)} }}; }};"


#: Rules that drop by the source, and whether the LAN passes.
BY_SOURCE = {
    "a list in raw": (base("prerouting", -300, "ip saddr @l drop", also=listed(BOGONS)), False),
    "a list": (base("forward", -1, "ip saddr @l drop", also=listed(BOGONS)), False),
    "a list behind accepts": (
        base("forward", -1, REPLIES, "ip saddr @l reject", also=listed(BOGONS)),
        False,
    ),
    "a set without a name": (base("forward", 0, f"ip saddr {{ {BOGONS} }} drop"), False),
    "rules": (base("forward", 0, *LITERAL, "ip saddr 192.168.0.0/16 drop"), False),
    "a list at the uplink": (
        base("prerouting", -300, "iifname wan0 ip saddr @l drop", also=listed(BOGONS)),
        True,
    ),
    "a list of others": (base("forward", 0, "ip saddr @l drop", also=listed(OTHERS)), True),
    "one host": (base("forward", 0, "ip saddr 10.77.0.9 drop"), True),
    "an accept before it": (
        base("forward", 0, "iifname lan0 accept", "ip saddr @l drop", also=listed(BOGONS)),
        True,
    ),
    "a list of those that may pass": (
        base("forward", 0, REPLIES, "ip saddr @l accept", policy="drop", also=listed(BOGONS)),
        True,
    ),
    "all that is not in a list": (
        base("forward", 0, "iifname lan0 ip saddr != @l drop", also=listed(BOGONS)),
        True,
    ),
}


@pytest.mark.parametrize(("rules", "passes"), BY_SOURCE.values(), ids=BY_SOURCE)
def test_lists_of_networks(network, rules, passes):
    """A list that has private networks belongs to the uplink."""
    network.router.sh(f"ip route add default via {SERVER}")
    network.router.run("nft", "-f", "-", stdin=rules)
    assert (network.source() == WAN) is passes
    assert blocked(network) == (set() if passes else {"lan0"})


def test_a_list_that_changes(network):
    """One process sees that the network is taken from the list, and put there again."""
    network.router.sh(f"ip route add default via {SERVER}")
    rules = base("forward", 0, "ip saddr @l drop", also=listed(BOGONS))
    network.router.run("nft", "-f", "-", stdin=rules)
    assert (network.source(), blocked(network)) == (None, {"lan0"})
    network.router.sh("nft delete element inet f l '{ 10.0.0.0/8 }'")
    assert (network.source(), blocked(network)) == (WAN, set())
    network.router.sh("nft add element inet f l '{ 10.0.0.0/8 }'")
    assert (network.source(), blocked(network)) == (None, {"lan0"})


def test_what_is_behind_a_network(network):
    """Further networks may be behind one that is dropped, or that no rule accepts."""
    network.router.sh(f"ip route add default via {SERVER}")
    network.client.sh("ip address add 10.88.0.2/32 dev lo")
    network.router.sh(f"ip route add 10.88.0.0/16 via {CLIENT}")
    drop = base("forward", 0, "ip saddr 10.77.0.0/24 drop")
    accept = base("forward", 0, REPLIES, "ip saddr 10.88.0.0/16 accept", policy="drop")
    for rules in (drop, accept):
        network.router.run("nft", "-f", "-", stdin=f"flush ruleset; {rules}")
        for source, seen in ((CLIENT, None), ("10.88.0.2", WAN)):
            network.client.sh(f"ip route replace default via {LAN} src {source}")
            assert network.source() == seen
        assert blocked(network) == set()


def listeners():
    """Return the queues that programs read; inside a namespace."""
    snapshot = inside.host().snapshot(timeout=10)
    try:
        return queue_listeners(snapshot)
    finally:
        snapshot.close()


def test_no_program_reads_a_queue(network):
    """The kernel lists none in a namespace without such programs."""
    assert network.router.call(listeners) == frozenset()
