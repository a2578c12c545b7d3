"""Translating rules that no packet can match: proven with packets, dead and healthy."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from netfilter_exporter.kernel.netlink.attributes import nest, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, nfgenmsg
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket
from support import inside
from support.page import Page
from support.router import CLIENT, LAN, PORT, SERVER, WAN, Router

MASQUERADE = 'oifname "wan0" masquerade'


def nat(post="", pre="", also=""):
    """Return a ruleset with these rules at postrouting and prerouting."""
    return f"""
table ip nat {{
  {also}
  chain post {{ type nat hook postrouting priority 100; {post}; }}
  chain pre {{ type nat hook prerouting priority -100; {pre}; }}
}}
"""


@pytest.fixture
def router(namespaces):
    return Router(namespaces)


def load(router, text):
    router.router.run("nft", "-f", "-", stdin=text)


def reasons(router):
    """Return how many rules are unmatchable for each reason, of one process that goes on."""
    found = {}
    for sample in Page(router.router.call(inside.scrape, ("nat",))).samples(
        "nat_unmatchable_rules"
    ):
        reason = sample.labels["reason"]
        found[reason] = found.get(reason, 0) + sample.value
    return {reason: number for reason, number in found.items() if number}


def fresh(router):
    """Return the same of a process that has seen nothing before."""
    page = Page(router.router.call(inside.check, "network_namespace: any").page)
    return {
        sample.labels["reason"]: sample.value
        for sample in page.samples("nat_unmatchable_rules")
        if sample.value
    }


def checked(router, configuration="network_namespace: any"):
    """Return the short names of what a fresh `check` finds, with their severities."""
    found = router.router.call(inside.check, configuration).found
    return {name: severity for name, severity, _ in found}


SET = "set clients { type ipv4_addr; flags interval; elements = { 10.77.0.0/24 }; }"
OTHERS = "set others { type ipv4_addr; flags interval; elements = { 10.77.0.0/24 }; }"
MAP = "map m { type ipv4_addr : ipv4_addr;"
INTERVALS = "ip saddr @clients ip daddr != @others masquerade"


def test_a_set_that_is_emptied(router):
    """The masquerade rule stays and matches nothing; an emptied set that is negated is no fault."""
    load(router, nat(INTERVALS, also=f"{SET}\n{OTHERS}"))
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})
    router.router.run("nft", "flush", "set", "ip", "nat", "others")
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})
    router.router.run("nft", "flush", "set", "ip", "nat", "clients")
    assert router.source() == CLIENT
    assert reasons(router) == {"empty_set": 1}
    assert checked(router) == {"NatRuleUnmatchable": "warning"}
    assert checked(router, "network_namespace: any\nnat: none") == {}
    router.router.run("nft", "add", "element", "ip", "nat", "clients", "{ 10.0.0.0/8 }")
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})


def test_the_last_network_that_goes(router):
    """The last container stops: systemd-networkd empties its set, and nothing is behind."""
    load(router, nat("ip saddr @clients masquerade", also=SET))
    assert (router.source(), checked(router)) == (WAN, {})
    router.router.run("nft", "flush", "set", "ip", "nat", "clients")
    assert checked(router) == {"NatRuleUnmatchable": "warning"}
    router.router.run("ip", "link", "del", "lan0")
    assert (fresh(router), checked(router)) == ({}, {})
    required = checked(router, "network_namespace: any\nnat: {ipv4: required, ipv6: none}")
    assert required == {"NatRuleUnmatchable": "warning"}


@pytest.mark.parametrize(
    ("also", "rule", "empty"),
    [
        (f"{MAP} elements = {{ * : 198.51.100.1 }}; }}", "snat to ip saddr map @m", False),
        (f"{MAP} }}", "snat to ip saddr map @m", True),
        ("set s { type ipv4_addr; }", "ip saddr != @s masquerade", False),
        ("set s { type ipv4_addr . inet_proto; }", "ip saddr . meta l4proto @s masquerade", True),
        ("set s { type ipv4_addr; }", "ip saddr @s masquerade; oifname wan0 masquerade", None),
    ],
    ids=["wildcard", "map", "negated", "concatenation", "another-rule"],
)  # fmt: skip
def test_sets_and_maps_that_hold_nothing(router, also, rule, empty):
    """`empty`: nothing is translated; None: another rule translates, and nothing is said."""
    load(router, nat(rule, also=also))
    assert (router.source() == CLIENT) is bool(empty)
    assert reasons(router) == ({"empty_set": 1} if empty is not False else {})
    assert checked(router) == ({"NatRuleUnmatchable": "warning"} if empty else {})


def test_a_family_that_was_prepared_and_not_filled(router):
    """IPv6 routed natively beside IPv4's NAT, as systemd-networkd leaves it: a role decides."""
    empty = nat("ip6 saddr @s masquerade", also="set s { type ipv6_addr; flags interval; }")
    load(router, nat('oifname "wan0" masquerade') + empty.replace("table ip nat", "table ip6 nat"))
    assert (reasons(router), checked(router)) == ({}, {})  # no IPv6 network leads anywhere
    required = "network_namespace: any\nnat: {ipv4: required, ipv6: required}"
    assert checked(router, required)["NatRuleUnmatchable"] == "warning"


def test_a_set_with_a_timeout_runs_empty(router):
    """A captive portal at night: it is counted once no element is left, and history decides."""
    load(router, nat("ip saddr @s masquerade", also="set s { type ipv4_addr; flags timeout; }"))
    assert router.source() == CLIENT
    assert reasons(router) == {"empty_set": 1}
    assert checked(router) == {}
    router.router.run("nft", "add element ip nat s { 10.77.0.2 timeout 1h }")
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ('oifname { "ppp0", "eth9" } masquerade', {"ppp0", "eth9"}),
        ("oifname @uplinks masquerade", {"ppp1"}),
        ('oifname . ip daddr { "ppp0" . 198.51.100.2 } masquerade', {"ppp0"}),
        ('oifname "ppp0" masquerade', {"ppp0"}),
    ],
    ids=["anonymous", "named", "concatenation", "plain"],
)
def test_a_set_that_names_only_missing_interfaces(router, rule, named):
    """Each is missing; one of them that comes is enough."""
    load(router, nat(rule, also='set uplinks { type ifname; elements = { "ppp1" }; }'))
    assert router.source() == CLIENT
    page = Page(router.router.call(inside.scrape, ("nat",)))
    missing = {sample.labels["interface"] for sample in page.samples("nat_missing_interface")}
    assert (missing, reasons(router)) == (named, {"missing_interface": 1})
    assert checked(router) == {"NatInterfaceMissing": "warning"}
    router.router.sh(f"ip link set wan0 down; ip link set wan0 name {min(named)}")
    assert (reasons(router), checked(router)) == ({}, {})


def test_a_set_with_one_interface_that_is_present(router):
    """A wildcard and a name that is present match: nothing is missing."""
    load(router, nat('oifname { "ppp0", "wan0" } masquerade'))
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})
    load(router, "flush ruleset" + nat('oifname { "ppp0", "wan*" } masquerade'))
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})


def bridge(router):
    """Make wan0 a port of a bridge that has its address."""
    router.router.sh(
        "ip link add br0 type bridge; ip link set wan0 master br0; ip link set br0 up;"
        f" ip address del {WAN}/24 dev wan0; ip address add {WAN}/24 dev br0"
    )


@pytest.mark.parametrize("jump", [False, True])
def test_an_uplink_that_became_a_bridge_port(router, jump):
    """Packets leave by the bridge; firewalld's chains name the port in the jump alone."""
    rule = 'oifname "wan0" goto zone' if jump else MASQUERADE
    load(router, nat(rule, also="chain zone { masquerade; }"))
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})
    bridge(router)
    assert router.source() == CLIENT
    assert (reasons(router), checked(router)) == (
        {"bridge_port": 1},
        {"NatRuleUnmatchable": "warning"},
    )
    load(router, "flush ruleset" + nat('oifname "br0" masquerade'))
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})


def published(router, address=WAN, port=8080):
    """Return whether a datagram of the server to a published port comes to the client."""
    router.client.call(inside.listen, CLIENT, PORT)
    router.server.call(inside.send, address, port)
    return router.client.call(inside.heard, CLIENT, PORT) is not None


DNAT = f"ip daddr {WAN} udp dport 8080 dnat to {CLIENT}:{PORT}"


def test_a_published_address_that_is_lost(router):
    """What was local within the day and is no more is missing; a fresh look cannot know that."""
    load(router, nat(MASQUERADE, DNAT))
    assert (published(router), reasons(router)) == (True, {})
    router.router.sh(f"ip address del {WAN}/24 dev wan0; ip address add 198.51.100.77/24 dev wan0")
    router.server.sh("ip neigh flush dev eth0")
    assert (published(router, WAN), published(router, "198.51.100.77")) == (False, False)
    assert reasons(router) == {"missing_address": 1}
    router.router.sh(f"ip address add {WAN}/32 dev lo")
    assert reasons(router) == {}


def test_anyip_and_addresses_of_others_are_no_loss(router):
    """AnyIP is local; a service address that never was local is not missed."""
    router.router.sh("ip route add local 203.0.113.0/24 dev lo")
    any_ip = f"ip daddr 203.0.113.5 udp dport 8080 dnat to {CLIENT}:{PORT}"
    cluster = f"ip daddr 10.96.0.1 udp dport 53 dnat to {CLIENT}:{PORT}"
    load(router, nat(MASQUERADE, f"{any_ip}; {cluster}"))
    router.server.sh(f"ip route replace 203.0.113.0/24 via {WAN}")
    assert published(router, "203.0.113.5")
    assert (reasons(router), checked(router)) == ({}, {})


def test_a_backup_of_vrrp_lacks_its_address_on_purpose(router):
    """Another host has it now, or a program speaks VRRP: nothing is missing."""
    load(router, nat(MASQUERADE, DNAT))
    assert reasons(router) == {}
    router.router.sh(f"ip address del {WAN}/24 dev wan0; ip address add 198.51.100.77/24 dev wan0")
    assert reasons(router) == {"missing_address": 1}
    router.router.call(speak_vrrp)
    assert reasons(router) == {}
    router.router.call(fall_silent)
    assert reasons(router) == {"missing_address": 1}
    router.router.sh(f"ip neigh replace {WAN} lladdr 02:00:00:00:00:01 nud stale dev wan0")
    assert reasons(router) == {}


SPARE = "198.51.100.30"


def missing(router):
    """Return the addresses that no host has, of what outgoing packets get."""
    page = Page(router.router.call(inside.scrape, ("nat",)))
    return [sample.labels["address"] for sample in page.samples("nat_missing_address")]


@pytest.fixture
def snat(router):
    """A router that translates to an address which it has beside its own."""
    load(router, nat(f'oifname "wan0" snat to {SPARE}'))
    router.router.sh(f"ip address add {SPARE}/24 dev wan0")
    assert (router.source(), router.answers(), missing(router)) == (SPARE, 1, [])
    return router


def test_snat_to_an_address_that_is_lost(snat):
    """Replies reach nobody; alone it is info, for a provider may deliver them all the same."""
    snat.router.sh(f"ip address del {SPARE}/24 dev wan0")
    snat.server.sh("ip neigh flush dev eth0")
    assert (snat.source(), snat.answers(), missing(snat)) == (SPARE, 0, [SPARE])
    assert checked(snat) == {"NatRuleUnmatchable": "info"}
    snat.router.sh(f"ip address add {SPARE}/32 dev lo")
    snat.server.sh("ip neigh flush dev eth0")  # it may be about to give up on the address
    assert (snat.answers(), missing(snat), checked(snat)) == (1, [], {})


HEALTHY = {
    "anyip": f"ip route add local {SPARE}/32 dev lo",
    "proxy-arp": "sysctl -qw net.ipv4.conf.wan0.proxy_arp=1",
    "proxy-neighbor": f"ip neigh add proxy {SPARE} dev wan0",
    "another-host": f"ip neigh replace {SPARE} lladdr 02:00:00:00:00:01 nud stale dev wan0",
    "routed-pool": f"ip route add blackhole {SPARE}/32",
    "routed-here": f"ip route add {SPARE}/32 via {SERVER}",
}


@pytest.mark.parametrize("command", HEALTHY.values(), ids=HEALTHY)
def test_addresses_that_no_interface_has(snat, command):
    """AnyIP, proxy ARP, the active host of a cluster, and routed pools: nothing is missing."""
    snat.router.sh(f"ip address del {SPARE}/24 dev wan0")
    assert missing(snat) == [SPARE]
    snat.router.sh(command)
    assert (missing(snat), checked(snat)) == ([], {})


def test_a_backup_of_vrrp_translates_to_the_address_of_its_master(snat):
    """A program that speaks VRRP decides who has it."""
    snat.router.sh(f"ip address del {SPARE}/24 dev wan0")
    snat.router.call(speak_vrrp)
    assert missing(snat) == []
    snat.router.call(fall_silent)


def test_pools_are_not_judged(router):
    """A pool of addresses beyond the networks of the interfaces is routed here by somebody."""
    load(router, nat('oifname "wan0" snat to 203.0.113.7'))
    router.server.sh(f"ip route add 203.0.113.0/24 via {WAN}")
    assert (router.source(), router.answers(), missing(router)) == ("203.0.113.7", 1, [])
    load(router, "flush ruleset" + nat(f'oifname "wan0" snat to {SPARE}-198.51.100.33'))
    assert missing(router) == []


_OPEN = []


def speak_vrrp():
    """Open a raw socket of protocol 112, as keepalived does; inside a namespace."""
    _OPEN.append(inside.socket.socket(inside.socket.AF_INET, inside.socket.SOCK_RAW, 112))


def fall_silent():
    """Close it."""
    _OPEN.pop().close()


def test_a_rule_for_loopback_needs_route_localnet(router):
    """Without it the kernel drops what the rule sends to 127.0.0.1."""
    load(router, nat(MASQUERADE, f'iifname "wan0" udp dport 8080 dnat to 127.0.0.1:{PORT}'))
    router.router.call(inside.listen, "127.0.0.1", PORT)

    def arrives():
        router.server.call(inside.send, WAN, 8080)
        return router.router.call(inside.heard, "127.0.0.1", PORT) is not None

    assert not arrives()
    assert reasons(router) == {"route_localnet": 1}
    assert checked(router) == {"NatRuleUnmatchable": "warning"}
    router.router.sh("sysctl -qw net.ipv4.conf.wan0.route_localnet=1")
    assert (arrives(), reasons(router), checked(router)) == (True, {}, {})


def test_local_packets_need_no_route_localnet(router):
    """What this host sends to itself passes output, where the same rule is harmless."""
    router.router.call(inside.listen, "127.0.0.1", 7007)
    load(
        router,
        """
table ip nat {
  chain ports { udp dport 8080 dnat to 127.0.0.1:7007; }
  chain pre { type nat hook prerouting priority -100; fib daddr type local jump ports; }
  chain out { type nat hook output priority -100; fib daddr type local jump ports; }
}
""",
    )
    assert (reasons(router), checked(router)) == ({}, {})


def test_addresses_of_this_host(router):
    """LAN and WAN addresses are local."""
    load(router, nat(MASQUERADE, f"{DNAT}; ip daddr {LAN} udp dport 53 dnat to {SERVER}"))
    assert (reasons(router), checked(router)) == ({}, {})


def raw(*rules):
    """Return a table with rules before tracking, at prerouting."""
    chain = "type filter hook prerouting priority raw"
    return "\n".join(("table inet early {", f"chain c {{ {chain}", *rules, "}", "}"))


LAN_ALONE = 'oifname "wan0" ip saddr 10.77.0.0/24 masquerade'

#: Rules of NAT and before tracking: what arrives from the LAN is untracked, and not translated.
UNTRACKED = {
    "interface": (MASQUERADE, ('iifname "lan0" notrack',)),
    "all-but-the-uplink": (MASQUERADE, ('iifname != "wan0" notrack',)),
    "network": (LAN_ALONE, ("ip saddr 10.0.0.0/8 notrack",)),
    "two-protocols": (MASQUERADE, ('iifname "wan0" accept', "notrack")),
}


@pytest.mark.parametrize(("rule", "early"), UNTRACKED.values(), ids=UNTRACKED)
def test_a_network_that_is_not_tracked(router, rule, early):
    """Packets leave with their private source, and no entry of the flow table shows it."""
    router.router.sh(f"ip route add default via {SERVER}")
    load(router, nat(rule) + raw(*early))
    assert router.source() == CLIENT
    assert reasons(router) == {"untracked": 1}
    assert checked(router) == {"NatRuleUnmatchable": "warning", "NotrackRules": "info"}
    load(router, "flush table inet early")
    assert (router.source(), reasons(router), checked(router)) == (WAN, {}, {})


#: The same, and the LAN is translated; at most a part of it, or another network, is untracked.
TRACKED_IN_PART = {
    "dns-cache": (MASQUERADE, ("ip daddr 169.254.20.10 udp dport 53 notrack",)),
    "one-protocol": (MASQUERADE, ('iifname "lan0" meta l4proto tcp notrack',)),
    "one-host": (MASQUERADE, ("ip saddr 10.77.0.9 notrack",)),
    "another-interface": (MASQUERADE, ('iifname "lan1" notrack',)),
    "another-network": (MASQUERADE, ("ip saddr 10.78.0.0/24 notrack",)),
    "the-uplink": (MASQUERADE, ('iifname "wan0" udp sport 9 notrack',)),
    "behind-an-accept": (MASQUERADE, ("meta l4proto udp accept", 'iifname "lan0" notrack')),
    "own-traffic": ('oifname "wan0" meta skuid 0 masquerade', ('iifname "lan1" notrack',)),
    "for-another": (f"{LAN_ALONE}; ip saddr 10.79.0.0/24 masquerade", ("tcp dport 9 notrack",)),
}


@pytest.mark.parametrize(("rule", "early"), TRACKED_IN_PART.values(), ids=TRACKED_IN_PART)
def test_networks_that_are_tracked_in_part(router, rule, early):
    """A DNS cache of a cluster, a network that is routed, single hosts: no rule is useless."""
    router.router.sh(
        f"ip route add default via {SERVER}; ip link add lan1 type veth peer name x1;"
        " ip address add 10.78.0.1/24 dev lan1; ip link set lan1 up; ip link set x1 up"
    )
    load(router, nat(rule) + raw(*early))
    assert router.source() == (CLIENT if "skuid" in rule else WAN)
    assert reasons(router) == {}
    assert checked(router) == {"NotrackRules": "info"}


# -- ipset, by messages: its program need not be here ------------------------------------------

PROTOCOL, SET_NAME, TYPE_NAME, REVISION, FAMILY, DATA = 1, 2, 3, 4, 5, 7
CREATE, FLUSH, ADD = 2, 4, 9


def ipset(command, *attributes):
    """Send a command of ipset about the set clients; inside a namespace."""
    head = nfgenmsg(2) + pack(PROTOCOL, b"\6") + pack(SET_NAME, b"clients\0")
    connection = Connection(NetlinkSocket(NETLINK_NETFILTER), time.monotonic() + 5)
    with contextlib.closing(connection):
        connection.command("ipset", 6 << 8 | command, head + b"".join(attributes))


def create():
    """Make the set, of the type hash:ip."""
    typed = pack(TYPE_NAME, b"hash:ip\0") + pack(REVISION, b"\0") + pack(FAMILY, b"\2")
    ipset(CREATE, typed, nest(DATA))


def add(address):
    """Add an address to it."""
    ip = nest(1, pack(1 | 0x4000, socket.inet_aton(address)))  # IPSET_ATTR_IP, _IPADDR_IPV4
    ipset(ADD, nest(DATA, ip))


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_an_ipset_that_is_emptied(router, backend):
    """It is counted; whether it should be empty, history tells."""
    router.router.call(create)
    router.router.call(add, CLIENT)
    router.router.sh(
        f"iptables-{backend} -t nat -A POSTROUTING -m set --match-set clients src -j MASQUERADE"
    )
    assert (router.source(), fresh(router)) == (WAN, {})
    router.router.call(ipset, FLUSH)
    assert (router.source(), fresh(router)) == (CLIENT, {"empty_set": 1})
    assert checked(router) == {}
    router.router.call(add, CLIENT)
    assert (router.source(), fresh(router)) == (WAN, {})
