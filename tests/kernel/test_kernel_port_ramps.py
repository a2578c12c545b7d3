"""An address without a port range whose ports fill: what is reported, and when alerts fire.

Flows are made through ctnetlink, and the pages are real. A ramp is played from them: at each scrape
the ratio that was reported with so many flows.
"""

import bisect

import pytest

from netfilter_exporter import assets
from support import answers, limit, ports, rule_tests
from support.namespace import Namespace

SERVER, WAN, PORT = "198.51.100.2", "198.51.100.1", 7007
FIRST, NUMBER = 1024, 64512
MASQUERADE = "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; \
add rule ip nat post masquerade"
#: Parts of the range at which a page is taken. Fewer flows are too few in a sample.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
#: Of 20 ramps, one has a failed insert before that: the kernel tries 128, 64, 32 and 16 ports
#: (nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c, v6.18), so each connection fails
#: with the probability of used ** 240.
FAILS = 0.965
OTHERS = 40  #: destinations with 500 flows each, so that the sample is not of one alone
ALERT = "NetfilterNatPortsFilling"
INTERVAL = 15


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


@pytest.mark.parametrize(
    ("rate", "severity", "ahead"), [(20, "warning", 300), (100, "critical", INTERVAL)]
)
def test_a_ramp_alerts_before_connections_fail(reported, tmp_path, rate, severity, ahead):
    """So many connections per second, none of which ends."""
    fails = FAILS * NUMBER / rate
    times = range(0, int(fails) + INTERVAL, INTERVAL)
    ramp = " ".join(f"{_at(reported, rate * time / NUMBER):.4f}" for time in times)
    labels = f'job="netfilter",instance="a",family="ipv4",protocol="udp",address="{WAN}"'
    series = [{"series": f"netfilter_snat_ports_used_ratio{{{labels}}}", "values": ramp}]
    everything = assets.load_rules(assets.files()[assets.RULES])
    rules = rule_tests.needed(everything, {"alert_rule_test": [{"alertname": ALERT}]})
    how = answers.Evaluation(INTERVAL, INTERVAL, [group["name"] for group in rules["groups"]])
    fires = f'ALERTS{{alertname="{ALERT}",alertstate="firing",severity="{severity}"}}'
    found = answers.ask(tmp_path, rules, series, [(fires, time) for time in times], how)
    first = next(time for time in times if list(found.samples(fires, time)))
    assert first <= fails - ahead


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
