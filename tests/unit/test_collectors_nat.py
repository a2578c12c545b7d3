"""collectors/nat.py: what is served of rulesets that could be read, and not of the others."""

import errno

import pytest

from netfilter_exporter.collection import Gatherer
from netfilter_exporter.collectors.base import SERIES_LIMIT
from netfilter_exporter.collectors.nat import COLLECTOR
from netfilter_exporter.facts.rulesets import legacy_readers
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.errors import Status
from netfilter_exporter.rules.families import BOTH, IPV4, Family
from netfilter_exporter.rules.model import Action, Rule
from netfilter_exporter.rules.reachability import analyze
from support import page, wire
from support.rules import MASQUERADE, nat_table

STATE = "6.1/nat-legacy"


class Scrape:
    """What one scrape of the collector made of a host."""

    def __init__(self, host, facts=None):
        made = Host(host.system)
        if facts is not None:  # in place of what the legacy tables of IPv4 say
            legacy_readers(made)[Family.IPV4].read = lambda *_, **_kw: facts
        self.outcome = Gatherer(made).gather([COLLECTOR]).outcomes["nat"]
        self.rows = {metric.name: dict(samples) for metric, samples in self.outcome.families}

    def by(self, name, *backend_and_family):
        """Return the values of a metric by its other labels."""
        at = len(backend_and_family)
        rows = self.rows[name].items()
        return {labels[at:]: v for labels, v in rows if labels[:at] == backend_and_family}


def test_every_action_is_served_for_what_could_be_read(fake_host):
    """0 rather than nothing: a rule that goes must not take its series along."""
    scrape = Scrape(fake_host(STATE))
    for backend, family in (("legacy", "ipv4"), ("legacy", "ipv6"), ("nftables", "ipv6")):
        found = scrape.by("nat_rules", backend, family)
        assert set(found) == {(action.value,) for action in Action}
    assert scrape.by("nat_rules", "legacy", "ipv4")["masquerade",] == 1
    assert set(scrape.rows["nat_readable"].values()) == {1}


def test_what_could_not_be_read_is_not_served_as_0(fake_host):
    """One backend that is denied takes nothing from the other, and is told to be unread."""
    host = fake_host("6.18/both-backends")
    before = Scrape(host)
    host.kernel._answer_netfilter = lambda *_: [wire.error(errno.EPERM)]
    after = Scrape(host)
    assert after.outcome.status is Status.DENIED
    assert after.by("nat_readable", "nftables") == {("ipv4",): 0, ("ipv6",): 0}
    for name in ("nat_rules", "nat_chain_rules", "nat_table_rules", "notrack_rules"):
        assert after.by(name, "nftables") == {}
        assert after.by(name, "legacy") == before.by(name, "legacy")
    assert after.rows["nftables_generation"] == {}


def test_a_backend_that_hides_takes_the_0_away(fake_host):
    """No forwarded rule is told to be there only where everything could be read."""
    host = fake_host("6.18/idle")
    assert Scrape(host).rows["nat_forwarded_rules"] == {("ipv4",): 0, ("ipv6",): 0}
    host.kernel._answer_netfilter = lambda *_: [wire.error(errno.EPERM)]
    assert Scrape(host).rows["nat_forwarded_rules"] == {}
    facts = analyze([nat_table(post=[MASQUERADE])])
    assert Scrape(host, facts).rows["nat_forwarded_rules"] == {("ipv4",): 1}


def test_rules_that_may_not_be_asked_for_are_unread(fake_host):
    """Where asking might load nf_tables nothing is asked, and nothing is told of its rules."""
    host = fake_host("6.1/idle")
    for name in ("lib", "boot"):
        if host.path(name).exists():
            host.path(name).rename(host.path(f"no-{name}"))
    scrape = Scrape(host)
    assert scrape.by("nat_readable", "nftables") == {("ipv4",): 0, ("ipv6",): 0}
    assert scrape.by("nat_rules", "nftables") == {}
    assert (host.kernel.opened, host.kernel.harm) == ([], [])


def test_an_interface_is_missing_until_it_is_there(fake_host):
    """Only a name that a rule needs and the host lacks is served, and it goes when it comes."""
    host = fake_host("6.18/idle")
    rules = [MASQUERADE._replace(interfaces=("wan0", "vpn0"))]
    facts = analyze([nat_table(post=rules)])
    missing = ("legacy", "ipv4", "post", "vpn0")
    assert Scrape(host, facts).rows["nat_missing_interface"] == {missing: 1}
    interfaces = {**host.kernel.interfaces(), "vpn0": host.kernel.interfaces()["lo"]}
    object.__setattr__(host.system, "interfaces", lambda: interfaces)
    assert Scrape(host, facts).rows["nat_missing_interface"] == {}


@pytest.mark.parametrize("count", [SERIES_LIMIT, SERIES_LIMIT + 36])
def test_series_are_bounded_whatever_the_ruleset(fake_host, count):
    """What is beyond the limit is counted, not served."""
    tables = [nat_table(post=[MASQUERADE])._replace(name=f"t{number}") for number in range(count)]
    facts = analyze(tables)
    facts.interfaces = {(Family.IPV4, "post", f"gone{number}") for number in range(count)}
    scrape = Scrape(fake_host("6.18/idle"), facts)
    for name in "nat_chain_rules", "nat_table_rules", "nat_missing_interface":
        assert len(scrape.rows[name]) == SERIES_LIMIT
        assert scrape.outcome.omitted[page.PREFIX + name] == count - SERIES_LIMIT


def test_unreachable_rules_are_0_where_all_are_reached(fake_host):
    """Each base chain says so, in each family."""
    rules = [MASQUERADE, Rule(action=Action.SNAT, conditional=True, families=IPV4)]
    facts = analyze([nat_table(BOTH, post=rules)])
    found = Scrape(fake_host("6.18/idle"), facts).by("nat_unreachable_rules", "legacy")
    assert found == {(family.value, "t", "post", "postrouting"): 0 for family in Family}
