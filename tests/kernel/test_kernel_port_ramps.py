"""A translated address whose ports fill: what is reported, when alerts fire, when packets drop.

Without a port range, flows are made through ctnetlink, and a ramp is played from real pages: at
each scrape the ratio that was reported with so many flows. In a tenth of the range they are made by
packets, a tenth of them at a time, until the kernel finds no port for one.

When the first one fails is chance. The kernel tries four runs of 128, 64, 32 and 16 adjacent ports
at random places (nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c, v6.18), and used ports
are adjacent. A place is a number of 16 bits modulo 64 512, so the first thousand ports fill twice
as fast. Of 2 000 simulated ramps, the first failed when 57 % were in use, two percent below 77 %,
half of them below 86 %, the last at 91 %. With packets on 6.18: 20 ramps of `masquerade random`
failed at 78 to 90 %, 6 of a tenth of the range at 88 to 94 %.

It is later, or never, where connections keep their source port: without a range in the rule, the
kernel tries that first. 59 892 flows of one client with as many source ports did not fail. And
entries expire in real time, however fast a ramp is played: see TIMEOUT.
"""

import bisect

import pytest

from netfilter_exporter import assets
from support import answers, hits, limit, ports, rule_tests
from support.namespace import Namespace
from support.router import Router

SERVER, WAN, PORT = "198.51.100.2", "198.51.100.1", 7007
FIRST, NUMBER = 1024, 64512
MASQUERADE = "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; \
add rule ip nat post masquerade"
#: Parts of the range at which a page is taken. Fewer flows are too few in a sample.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.0)
#: Two percent of simulated ramps have a failed insert before that.
FAILS = 0.773
#: Of entries without a reply, in seconds: longer than any ramp takes. With 1 200, the first entries
#: of a ramp of twenty a second, which has five times the pages of one of a hundred, can expire on a
#: busy machine before the last ones are made; then no port is ever missing.
TIMEOUT = 86400
OTHERS = 40  #: destinations with 500 flows each, so that the sample is not of one alone
ALERT = "NetfilterNatPortsFilling"
INTERVAL = 15
RAMPS = [(20, "warning", 300), (100, "critical", INTERVAL)]
TENTH = (10000, 10000 + NUMBER // 10)
PORTS_OF_TENTH = TENTH[1] - TENTH[0] + 1
SNAT = f"""
flush ruleset
table ip nat {{
 chain post {{
  type nat hook postrouting priority 100; ip protocol udp snat to {WAN}:{TENTH[0]}-{TENTH[1]};
 }}
}}
"""


@pytest.fixture(name="reported", scope="module")
def _reported():
    """The reported ratio at each level."""
    with limit.changed(max(int(limit.LIMIT.read_text()), 2 * NUMBER)):
        namespace = Namespace()
        try:
            namespace.run("nft", MASQUERADE)
            for other in range(1, OTHERS + 1):
                namespace.call(ports.fill, SERVER, PORT + other, WAN, range(FIRST, FIRST + 500))
            found, made = {}, 0
            for level in LEVELS:
                used = round(level * NUMBER)
                between = range(FIRST + made, FIRST + used)
                namespace.call(ports.fill, SERVER, PORT, WAN, between)
                made = used
                ratio, size = namespace.call(ports.look)
                assert size == {("ipv4", "udp", WAN): NUMBER}
                found[level] = ratio["ipv4", "udp", WAN]
            return found
        finally:
            namespace.close()


@pytest.mark.parametrize("level", [level for level in LEVELS if level >= 0.5])
def test_ports_in_use_are_near_the_truth(reported, level):
    """Within a tenth from half of the range on: counted, or estimated by the last count."""
    assert reported[level] == pytest.approx(level, rel=0.1)


@pytest.mark.parametrize(("rate", "severity", "ahead"), RAMPS)
def test_a_ramp_alerts_before_connections_fail(reported, tmp_path, rate, severity, ahead):
    """So many connections per second, none of which ends."""
    fails = FAILS * NUMBER / rate
    times = range(0, int(fails) + INTERVAL, INTERVAL)
    first = _first(tmp_path, severity, [_at(reported, rate * time / NUMBER) for time in times])
    assert first is not None
    assert first <= fails - ahead


@pytest.mark.parametrize(("rate", "severity", "ahead"), RAMPS)
def test_a_ramp_of_packets_alerts_before_the_first_is_dropped(
    namespaces, tmp_path, rate, severity, ahead
):
    """The first page that shows an insert that failed comes after the alert, by so much."""
    router = Router(namespaces)
    assert router.answers() == 1
    router.router.sh(f"sysctl -q net.netfilter.nf_conntrack_udp_timeout={TIMEOUT}; conntrack -F")
    router.router.run("nft", "-f", "-", stdin=SNAT)
    for other in range(1, 11):
        router.client.call(hits.open_flows, SERVER, PORT + other, 50)
    used, failed, made = [], 0, 0
    while not failed:
        ratios, failed = router.router.call(ports.observe, len(used) * float(INTERVAL), 0.1)
        used.append(ratios.get(("ipv4", "udp", WAN), 0.0))
        assert made < 2 * PORTS_OF_TENTH, "no insert failed"
        router.client.call(hits.open_flows, SERVER, PORT, rate * INTERVAL // 10)
        made += rate * INTERVAL // 10
    first = _first(tmp_path, severity, used)
    assert first is not None
    before = (len(used) - 2) * INTERVAL  # the last page on which none had failed
    assert first <= before - ahead


def _first(tmp_path, severity, used):
    """Return the seconds until the alert fires, for the ratio at each scrape; None if never."""
    times = range(0, len(used) * INTERVAL, INTERVAL)
    ramp = " ".join(f"{ratio:.4f}" for ratio in used)
    labels = f'job="netfilter",instance="a",family="ipv4",protocol="udp",address="{WAN}"'
    series = [{"series": f"netfilter_snat_ports_used_ratio{{{labels}}}", "values": ramp}]
    everything = assets.load_rules(assets.files()[assets.RULES])
    rules = rule_tests.needed(everything, {"alert_rule_test": [{"alertname": ALERT}]})
    how = answers.Evaluation(INTERVAL, INTERVAL, [group["name"] for group in rules["groups"]])
    fires = f'ALERTS{{alertname="{ALERT}",alertstate="firing",severity="{severity}"}}'
    found = answers.ask(tmp_path, rules, series, [(fires, time) for time in times], how)
    return next((time for time in times if list(found.samples(fires, time))), None)


def _at(reported, level):
    """Return the ratio that is reported at a level between those of the pages."""
    known = {0.0: 0.0, **reported}
    levels = list(known)
    upper = min(bisect.bisect_left(levels, level), len(levels) - 1)
    lower = max(upper - 1, 0)
    if lower == upper:
        return known[levels[lower]]
    part = (level - levels[lower]) / (levels[upper] - levels[lower])
    return known[levels[lower]] + part * (known[levels[upper]] - known[levels[lower]])
