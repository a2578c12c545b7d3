"""Rulesets that real programs write, on healthy hosts: packets pass, and nothing is found."""

from __future__ import annotations

import dataclasses

import pytest

from support import inside, rulesets, still_pages
from support.page import Page
from support.router import CLIENT, LAN, PORT, SERVER, WAN, Router

RULESETS = rulesets.load()
HEALTHY = [name for name, ruleset in RULESETS.items() if ruleset.healthy]
SERVER6, WAN6 = "fd78::2", "fd78::1"
UPLINK = RULESETS["firewalld-absent-uplink"]
UFW = RULESETS["ufw-forward-drop"]

#: The first test loads them all, the last but one puts a hundred pages through the rules.
pytestmark = pytest.mark.timeout(600)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What came of the packets, and what `check` found with the user's role and without."""

    flows: tuple[tuple[str, object, object], ...]  #: words, what was seen, what is right
    with_role: inside.Checked
    without: inside.Checked


@pytest.fixture(scope="module")
def seen(module_namespaces):
    """What was seen of each ruleset; one router gets one after the other."""
    host = rulesets.Host(Router(module_namespaces))
    host.namespace.sh(f"ip route add default via {SERVER}")  # as a gateway has
    found = {}
    for name, ruleset in RULESETS.items():
        host.prepare(ruleset)
        flows = [words for words in ruleset.flows.split(", ") if words]
        found[name] = Seen(
            tuple((words, *arrived(host.router, *words.split())) for words in flows),
            host.namespace.call(inside.check, ruleset.configuration),
            host.namespace.call(inside.check, "network_namespace: any"),
        )
    host.reset()
    return found


def heard(where, address, sender, target, port):
    """Return whom a datagram came from that `sender` sent to `target`, None where it did not."""
    where.call(inside.listen, address, PORT)
    sender.call(inside.send, target, port)
    return where.call(inside.heard, address, PORT)


def arrived(router, *words):
    """Return what a flow came to; once more where it came to nothing, as a neighbor was unknown."""
    found, right = flow(router, *words)
    return (found, right) if found else flow(router, *words)


def flow(router, kind, *words):
    """Return what a flow of a kind came to, and what is right."""
    if kind == "out":
        return router.source(), words[0] if words else WAN
    if kind == "out6":
        return router.source(SERVER6), words[0] if words else WAN6
    if kind == "own":
        found = heard(router.server, SERVER, router.router, SERVER, PORT)
        return found, words[0] if words else WAN
    if kind == "in":
        return heard(router.client, CLIENT, router.server, WAN, int(words[0])) is not None, True
    if kind == "local":
        address, port, expected = words
        return heard(router.router, expected, router.server, address, int(port)), SERVER
    assert kind == "service", kind
    return heard(router.client, CLIENT, router.client, words[0], int(words[1])), LAN


def alerts(checked, *severities):
    """Return the alerts that were found with one of `severities`."""
    return {name for name, severity, _ in checked.found if severity in severities}


@pytest.mark.parametrize("name", RULESETS)
def test_packets_go_where_they_should(seen, name):
    """The host is healthy: what its rules are for works."""
    for words, found, right in seen[name].flows:
        assert found == right, words


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_host_is_quiet(seen, name):
    """Nothing above info is found, with the role that its user would set and without any."""
    ruleset = RULESETS[name]
    for checked, code in ((seen[name].with_role, 0), (seen[name].without, ruleset.exit)):
        assert alerts(checked, "critical", "warning") == set(), checked.found
        silent = checked is seen[name].with_role and ruleset.role == "none"
        info = set() if silent else set(ruleset.info.split())
        assert alerts(checked, "info") == info, checked.found
        assert (checked.code, "is broken" in checked.verdict) == (code, False), checked.verdict


@pytest.mark.parametrize("name", RULESETS)
def test_no_remedy_makes_a_router(seen, name):
    """Without a configured role no command enables forwarding."""
    assert not any("forwarding" in line for line in seen[name].without.remedies)


@pytest.mark.parametrize("name", HEALTHY)
def test_duplicates_are_counted(seen, name):
    """Translating rules that repeat an earlier one are counted, and no others."""
    page = Page(seen[name].without.page)
    assert (page.total("nat_duplicate_rules") or 0) == RULESETS[name].duplicates


@pytest.mark.parametrize("name", RULESETS)
def test_every_rule_is_decided(seen, name):
    """Of rules that real programs write it is known whether packets reach them."""
    page = Page(seen[name].without.page)
    assert (page.total("nat_undecided_rules") or 0) == 0
    assert not page.total("nat_hidden_exemptions")


#: Where no program was ever seen to listen, the page has nothing.
CHECK_ALONE = {("NetfilterNatRuleUnmatchable", "info")}


def test_no_alert_fires_on_healthy_hosts(seen, tmp_path):
    """The pages of all of them, through the rules: nothing but what is info here."""
    hosts = {
        f"{name} {how}": (
            Page(checked.page),
            {(f"Netfilter{alert}", "info") for alert in RULESETS[name].info.split()} - CHECK_ALONE,
        )
        for name in HEALTHY
        for how, checked in (("with", seen[name].with_role), ("without", seen[name].without))
    }
    assert not still_pages.run([still_pages.fleet_test("healthy", hosts)], tmp_path)


def test_an_interface_is_missing_once(seen):
    """Four chains name it in both families: it is missed once, in the family that translates."""
    checked = seen[UPLINK.name].without
    assert alerts(checked, "critical", "warning") == {"NatInterfaceMissing"}
    assert sum(name == "NatInterfaceMissing" for name, *_ in checked.found) == 1
    labels = [sample.labels for sample in Page(checked.page).samples("nat_missing_interface")]
    assert labels == [
        {
            "backend": "nftables",
            "family": "ipv4",
            "chain": "nat_POSTROUTING_ZONES",
            "interface": "ppp9",
        }
    ]


def test_ufw_forwards_nothing(seen):
    """With its own before.rules pings pass; that new connections do not is found, with a role."""
    for checked in (seen[UFW.name].with_role, seen[UFW.name].without):
        assert alerts(checked, "critical", "warning") == {"ForwardBlocked"}, checked.found
        labels = [sample.labels for sample in Page(checked.page).samples("forward_blocked")]
        assert labels == [{"backend": "nftables", "family": "ipv4", "interface": "lan0"}]
