"""NAT hits of the running kernel: rules' own counters, with real packets."""

import random

import pytest

from netfilter_exporter.rules.counted import MOST_RULES
from support import hits
from support.router import PORT, SERVER, Router

NFT = """
flush ruleset
table ip nat {{
 set empty {{ type ipv4_addr; }}
 chain post {{ type nat hook postrouting priority 100; {rules} }}
}}
"""
COUNTED = 'oifname "wan0" counter masquerade;'
MASQUERADE = ("nftables", "ipv4", "masquerade")
LEGACY = "iptables-legacy -w -t nat {}"
NAMED = """
expect:
  rules:
    - {name: uplink, family: ipv4, action: masquerade, interface: wan0}
"""


@pytest.fixture(name="router", scope="module")
def _router(module_namespaces):
    made = Router(module_namespaces)
    assert made.answers() == 1  # neighbors are known: no packet waits for one
    return made


@pytest.fixture(autouse=True)
def _clean(router):
    yield
    router.router.sh(
        "nft flush ruleset; iptables-legacy -w -t nat -F; iptables-legacy -w -t nat -X"
    )


@pytest.fixture(name="look")
def _look(router):
    """Return what looks, from one process with an account of its own."""
    worker = router.router.worker()
    return lambda configuration="": worker.call(hits.look, configuration)


def load(router, rules):
    router.router.run("nft", "-f", "-", stdin=NFT.format(rules=rules))


def use(router, number):
    router.client.call(hits.open_flows, SERVER, PORT, number)


def total(found):
    return sum(found["nat_translations_total"].values())


def test_hits_are_counted_over_a_reload(router, look):
    """Each flow is one, whichever rule translated it; what a reload begins with is none."""
    load(router, COUNTED)
    use(router, 7)
    assert look()["nat_translations_total"] == {MASQUERADE: 0}
    use(router, 20)
    assert look()["nat_translations_total"] == {MASQUERADE: 20}
    saved = router.router.run("nft", "list", "ruleset")
    assert "packets 27" in saved
    router.router.run("nft", "-f", "-", stdin=f"flush ruleset\n{saved}")
    found = look()
    assert found["nat_translations_total"] == {MASQUERADE: 20}
    assert found["nat_counted_rules"] == {("nftables", "ipv4"): 0}
    use(router, 15)
    found = look()
    assert found["nat_translations_total"] == {MASQUERADE: 35}
    assert found["nat_counted_rules"] == {("nftables", "ipv4"): 1}
    assert found["status"] == {("ok",): 1}


def test_a_rule_that_comes_before_others_changes_nothing(router, look):
    """The others keep their counters, and their hits."""
    load(router, COUNTED)
    look()
    use(router, 5)
    router.router.sh("nft insert rule ip nat post ip saddr 192.0.2.1 accept")
    use(router, 3)
    found = look()
    assert found["nat_translations_total"] == {MASQUERADE: 8}
    assert found["nat_counted_rules"] == {("nftables", "ipv4"): 1}


@pytest.mark.parametrize(
    ("rules", "matches"),
    [
        (COUNTED, True),
        ("ip saddr 10.0.0.0/8 accept; " + COUNTED, False),
        ("ip saddr 10.88.0.0/24 " + COUNTED, False),
        ('oifname "lan0" counter masquerade;', False),
        ("meta mark 7 " + COUNTED, False),
        ("ip saddr @empty " + COUNTED, False),
        ("counter snat to 198.51.100.77;", True),
    ],
)
def test_states_that_look_healthy(router, look, rules, matches):
    """Rules that exist and match nothing have no hits; those that nobody replies to have."""
    load(router, rules)
    look()
    use(router, 20)
    found = look()
    assert total(found) == 20 * matches
    assert found["nat_counted_rules"] == {("nftables", "ipv4"): 1}


def test_rules_without_a_counter_end_the_series(router, look):
    """And so does a counter that also counts what the rule does not translate."""
    load(router, COUNTED)
    look()
    for rules in (
        'oifname "wan0" masquerade;',
        'counter oifname "wan0" masquerade;',
        'counter; oifname "wan0" masquerade;',
    ):
        load(router, rules)
        found = look()
        assert found["nat_translations_total"] == found["nat_counted_rules"] == {}
        assert found["status"] == {("no_data",): 1}
    load(router, COUNTED)
    assert look()["nat_translations_total"] == {MASQUERADE: 0}


def test_iptables_nft_always_counts(router, look):
    """Masquerade, and DNAT in a user chain, each for itself; and a rule by its name."""
    router.router.sh(
        "iptables-nft -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE;"
        "iptables-nft -w -t nat -N published;"
        "iptables-nft -w -t nat -A PREROUTING -j published;"
        f"iptables-nft -w -t nat -A published -p udp --dport 9 -j DNAT --to {SERVER}:{PORT}"
    )
    look(NAMED)
    use(router, 5)
    router.client.call(hits.open_flows, "198.51.100.1", 9, 3)
    found = look(NAMED)
    assert found["nat_translations_total"] == {MASQUERADE: 8, ("nftables", "ipv4", "dnat"): 3}
    assert found["nat_counted_rules"] == {("nftables", "ipv4"): 2}
    assert found["nat_rule_translations_total"] == {("uplink",): 8}
    router.router.sh("iptables-nft -w -t nat -Z")
    use(router, 4)
    assert 8 <= total(look(NAMED)) - 3 <= 12


def test_legacy_counts(router, look):
    """The sum over all CPUs; a rule that is added replaces the table and changes no sum."""
    labels = ("legacy", "ipv4", "masquerade")
    router.router.sh(LEGACY.format("-A POSTROUTING -o wan0 -j MASQUERADE"))
    use(router, 3)
    assert look()["nat_translations_total"] == {labels: 0}
    use(router, 20)
    assert look()["nat_translations_total"] == {labels: 20}
    router.router.sh(LEGACY.format("-I POSTROUTING -s 192.0.2.0/24 -o wan0 -j SNAT --to 192.0.2.9"))
    use(router, 5)
    assert look()["nat_translations_total"] == {labels: 25, ("legacy", "ipv4", "snat"): 0}
    router.router.sh(LEGACY.format("-Z"))
    assert look()["nat_translations_total"][labels] == 25
    use(router, 6)
    assert look()["nat_translations_total"][labels] == 31


def test_too_many_are_not_read(router, look):
    """All counted rules or none: a part of them would look like a loss."""
    rules = "".join(f"ip saddr 10.9.0.{n} counter masquerade;" for n in range(MOST_RULES))
    load(router, rules)
    found = look()
    assert found["nat_translations_total"] == found["nat_counted_rules"] == {}
    assert found["status"] == {("inconclusive",): 1}


def test_random_reloads_invent_nothing(router, look):
    """Reloads, zeroings and replacements: never a fall, never more than what was sent."""
    chance = random.Random(22)
    load(router, COUNTED)
    look()
    sent = before = 0
    for _ in range(50):
        number = chance.randrange(4)
        use(router, number)
        sent += number
        saved = router.router.run("nft", "list", "ruleset")
        handle = saved and router.router.run("nft", "-a", "list", "chain", "ip", "nat", "post")
        handle = handle.split("masquerade # handle ")[1].split()[0]
        chance.choice(
            [
                lambda: load(router, COUNTED),
                lambda saved=saved: router.router.run(
                    "nft", "-f", "-", stdin=f"flush ruleset\n{saved}"
                ),
                lambda handle=handle: router.router.sh(
                    f"nft replace rule ip nat post handle {handle} oifname wan0 counter masquerade"
                ),
                lambda: router.router.call(hits.reset_rules, "nat"),
                lambda: router.router.sh("nft add rule ip nat post meta mark 7 accept"),
                lambda: None,
            ]
        )()
        if chance.random() < 0.7:
            found = total(look())
            assert before <= found <= sent
            before = found
    assert before > sent / 4
