"""What is said of a rule that publishes another host, and whether connections come through."""

import pytest

from support import inside
from support.gateway import delivers, serve
from support.page import Page
from support.router import CLIENT, WAN, Router

CONFIGURATION = "network_namespace: any"
ESTABLISHED = "ct state established,related accept"
DNAT = f'iifname "wan0" tcp dport 7 dnat to {CLIENT}:7'
#: Rules of a chain at the forward hook, and whether connections come through.
CASES = {
    "policy accept": ("", True),
    "policy drop": (f'policy drop; {ESTABLISHED}; iifname "lan0" accept', False),
    "policy drop, what is published": (f"policy drop; {ESTABLISHED}; ct status dnat accept", True),
    "policy drop, the host": (
        f"policy drop; {ESTABLISHED}; ip daddr {CLIENT} tcp dport 7 accept",
        True,
    ),
    "another port": (f"policy drop; {ESTABLISHED}; ip daddr {CLIENT} tcp dport 8 accept", False),
    "the port before translation": (
        f"policy drop; {ESTABLISHED}; ip daddr {WAN} tcp dport 7 accept",
        False,
    ),
    "policy drop, towards the host": (f'policy drop; {ESTABLISHED}; oifname "lan0" accept', True),
    "policy drop, some sources": (
        f"policy drop; {ESTABLISHED}; ip saddr 198.51.100.0/24 accept",
        True,
    ),
    "policy drop, a set": (f"policy drop; {ESTABLISHED}; tcp dport {{ 7, 80 }} accept", True),
    "new ones alone": ("policy drop; ct state new accept", False),
    "later ones of the host alone": (
        'policy drop; ct state new accept; iifname "lan0" ct state established accept',
        False,
    ),
    "a drop of the port": ("tcp dport 7 drop", False),
    "a drop of what is not published": (f"{ESTABLISHED}; ct status & dnat != dnat drop", True),
}


@pytest.fixture
def router(namespaces):
    made = Router(namespaces)
    made.client.call(serve)
    return made


def rules(filters, dnat=DNAT):
    """Return a ruleset that publishes the client."""
    return f"""
flush ruleset
table ip n {{ chain d {{ type nat hook prerouting priority -100; {dnat}; }}; }}
table inet f {{ chain c {{ type filter hook forward priority 0; {filters}; }}; }}
"""


def dropped(router):
    """Return how many rules publish what is dropped."""
    page = Page(router.router.call(inside.scrape, ("nat",)))
    return page.total("nat_unmatchable_rules", reason="dropped") or 0


@pytest.mark.parametrize(("filters", "passes"), CASES.values(), ids=CASES)
def test_what_is_published(router, filters, passes):
    """It is reported just when no connection comes through."""
    router.router.run("nft", "-f", "-", stdin=rules(filters))
    assert router.server.call(delivers, WAN) is passes
    assert dropped(router) == (not passes)


@pytest.mark.parametrize("name", ['iif "wan0"', 'iifname "wan*"'])
def test_an_interface_by_its_number(router, name):
    """A rule names it, and the chain that drops names others, as miniupnpd's (miniupnp#422)."""
    filters = f'policy drop; {ESTABLISHED}; iifname "lan0" accept'
    dnat = DNAT.replace('iifname "wan0"', name)
    router.router.run("nft", "-f", "-", stdin=rules(filters, dnat))
    assert not router.server.call(delivers, WAN)
    assert dropped(router) == 1
    router.router.run("nft", "-f", "-", stdin=rules(filters.replace("lan0", "wan0"), dnat))
    assert router.server.call(delivers, WAN)
    assert dropped(router) == 0


TOOLS = ("iptables-nft", "iptables-legacy")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("accepted", "passes"),
    [
        ("", False),
        ("-m conntrack --ctstate DNAT", True),
        (f"-d {CLIENT} -p tcp --dport 7", True),
        (f"-d {WAN} -p tcp --dport 7", False),
        ("-o lan0", True),
    ],
)
def test_the_same_of_iptables(router, tool, accepted, passes):
    """`check` names the chain, and a rule of the other backend lets nothing pass."""
    router.router.sh(
        f"""
        {tool} -t nat -A PREROUTING -i wan0 -p tcp --dport 7 -j DNAT --to-destination {CLIENT}
        {tool} -P FORWARD DROP
        {tool} -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
        {f"{tool} -A FORWARD {accepted} -j ACCEPT" if accepted else ""}
        """
    )
    assert router.server.call(delivers, WAN) is passes
    checked = router.router.call(inside.check, CONFIGURATION)
    assert [(name, severity) for name, severity, _ in checked.found] == [
        ("NatRuleUnmatchable", "warning")
    ] * (not passes)
    assert passes or "the policy of chain FORWARD in table filter" in checked.verdict


@pytest.mark.parametrize("dnat", ["dnat to {CLIENT}", "ip protocol icmp dnat to {CLIENT}"])
def test_what_is_published_for_other_protocols(router, dnat):
    """Nothing is said of a rule for more than TCP and UDP: a ping may pass."""
    filters = f"policy drop; {ESTABLISHED}; icmp type echo-request accept"
    router.router.run("nft", "-f", "-", stdin=rules(filters, dnat.format(CLIENT=CLIENT)))
    router.server.sh(f"ping -c 1 -W 2 {WAN}")
    assert dropped(router) == 0
