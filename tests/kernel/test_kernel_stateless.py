"""Stateless NAT: rules that write addresses, which connection tracking does not see."""

import pytest

from support import inside
from support.namespace import Failed
from support.page import Page
from support.router import PORT, WAN, Router

ROLES = "network_namespace: any", "network_namespace: any\nnat: {{{0}: required, {1}: none}}"


def stateless(post, pre="", table="ip", also=""):
    """Return a table that writes addresses of what leaves, and of what comes back."""
    return f"""
table {table} stateless {{
  {also}
  chain post {{ type filter hook postrouting priority srcnat; oifname "wan0" {post}; }}
  chain pre {{ type filter hook prerouting priority raw; iifname "wan0" {pre or "return"}; }}
}}
"""


BACK = f"ip daddr {WAN} ip daddr set 10.77.0.2"
STATEFUL = """
table inet f { chain f { type filter hook forward priority 0; ct state invalid counter; }; }
"""
MAP = f"map m {{ type ipv4_addr : ipv4_addr; elements = {{ 10.77.0.2 : {WAN} }}; }}"
#: Rules that translate, of nftables.
HEALTHY = {
    "in-a-table-ip": stateless(f"ip saddr 10.77.0.2 ip saddr set {WAN}", BACK),
    "in-a-table-inet": stateless(f"ip saddr 10.77.0.2 ip saddr set {WAN}", BACK, "inet"),
    "from-a-map": stateless("ip saddr set ip saddr map @m", BACK, also=MAP),
    "behind-a-jump": stateless("jump u", BACK, also=f"chain u {{ ip saddr set {WAN}; }}"),
    "behind-other-writes": stateless(f"ip ttl set 9 ip saddr set {WAN}", BACK),
    "untracked": stateless(f"ip saddr set {WAN}", f"{BACK} notrack"),
    "tracked": stateless(f"ip saddr set {WAN}", BACK) + STATEFUL,
}
#: Rules that write something else, or that no packet comes to.
DEAD = {
    "another-field": stateless("ip ttl set 9", "ip dscp set cs1"),
    "no-jump": stateless("ip ttl set 9", also=f"chain u {{ ip saddr set {WAN}; }}"),
    "nothing": "",
}


@pytest.fixture
def router(namespaces):
    made = Router(namespaces)
    made.server.sh("ip route del default; ip -6 route del default")
    made.server.sh("ip route add 10.77.0.0/24 dev eth0")  # so that answers leave, and get lost
    return made


def checked(router, family="ipv4"):
    """Return what `check` finds without a role, and with one."""
    other = "ipv6" if family == "ipv4" else "ipv4"
    made = [router.router.call(inside.check, role.format(family, other)) for role in ROLES]
    families = {sample.labels["family"] for sample in Page(made[0].page).samples("nat_stateless")}
    return [(each.code, {name for name, *_ in each.found}) for each in made], families


@pytest.mark.parametrize("rules", HEALTHY.values(), ids=HEALTHY)
def test_rules_that_write_addresses_are_nat(router, rules):
    """A role requires no translating rule next to them, nor that packets are tracked."""
    router.router.run("nft", "-f", "-", stdin=rules)
    assert (router.source(), router.answers()) == (WAN, 1)
    assert checked(router) == ([(0, set()), (0, set())], {"ipv4"})


@pytest.mark.parametrize("rules", DEAD.values(), ids=DEAD)
def test_rules_that_write_something_else_are_none(router, rules):
    """The private address leaves, and a host that must translate is broken."""
    router.router.run("nft", "-f", "-", stdin=rules)
    assert (router.source(), router.answers()) == ("10.77.0.2", 0)
    broken = {"ConntrackDisabled", "NatRulesGone"}
    assert checked(router) == ([(3, set()), (2, broken)], set())


def test_nothing_is_claimed_of_what_is_not_seen(router):
    """Connections that conntrack sees untranslated are not judged, nor is NAT said to work."""
    router.router.run("nft", "-f", "-", stdin=HEALTHY["tracked"])
    router.router.call(inside.begin_check, ROLES[1].format("ipv4", "ipv6"))
    assert router.answers(times=5) == 5
    code, verdict, found = router.router.call(inside.end_check)
    assert (code, found) == (3, {})
    assert "no translation was observed" in verdict


@pytest.mark.parametrize("tool", ["ip6tables-legacy", "ip6tables-nft"])
def test_translated_prefixes(router, tool):
    """NPTv6 by either iptables, and the same once its rules are gone."""
    server = "fd78::2"
    router.server.sh("ip -6 route add fd99::/64 via fd78::1")
    command = (
        f"{tool} -t mangle -A POSTROUTING -o wan0 -s fd77::/64 -j SNPT --src-pfx fd77::/64"
        f" --dst-pfx fd99::/64; {tool} -t mangle -A PREROUTING -i wan0 -d fd99::/64 -j DNPT"
        " --src-pfx fd99::/64 --dst-pfx fd77::/64"
    )
    try:
        router.router.sh(command)
    except Failed:
        pytest.skip("this kernel has no NPTv6")
    assert router.source(server, PORT).startswith("fd99::")
    assert router.answers(server, PORT) == 1
    assert checked(router, "ipv6") == ([(0, set()), (0, set())], {"ipv6"})
    router.router.sh(f"{tool} -t mangle -F")
    assert router.source(server, PORT) == "fd77::2"
    broken = {"ConntrackDisabled", "NatRulesGone"}
    assert checked(router, "ipv6") == ([(3, set()), (2, broken)], set())
