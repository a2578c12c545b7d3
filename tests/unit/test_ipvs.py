"""kernel/ipvs.py: a balancer that translates without a rule is no host without NAT."""

import pytest

from netfilter_exporter.kernel import ipvs
from netfilter_exporter.rules.families import IPV4, IPV6
from support import checks

#: As ip_vs_info_seq_show of v6.18 writes them.
HEAD = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
"""
MASQ = """\
TCP  CB007101:01BB rr
  -> 0A5B0102:0050      Masq    1      0          0
"""
MASQ6 = """\
TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 wrr
  -> [fd00:0000:0000:0000:0000:0000:0000:0002]:0050      Masq    1      0          0
"""
DIRECT = """\
FWM  00000001 wlc persistent 300
  -> 0A5B0103:0000      Route   1      0          0
  -> 0A5B0104:0000      Tunnel  1      0          0
UDP  CB007101:0035 rr ops
"""


@pytest.mark.parametrize(
    ("services", "families"),
    [
        ("", frozenset()),
        (DIRECT, frozenset()),
        (DIRECT + MASQ, IPV4),
        (MASQ6, IPV6),
        (MASQ + MASQ6, IPV4 | IPV6),
    ],
)
def test_servers_that_get_translated_packets(services, families):
    """Only masquerading is NAT: direct routing and tunnels leave addresses alone."""
    assert ipvs.parse_families((HEAD + services).encode()) == families


def test_a_line_that_is_cut_says_nothing():
    """Only the head of the file is read, which may end anywhere."""
    content = (HEAD + MASQ).encode()
    for end in range(len(content)):
        assert ipvs.parse_families(content[:end]) <= IPV4


@pytest.fixture
def balancer(fake_host):
    """A host without rules on which IPVS translates."""
    host = fake_host("6.1/loaded-no-rules")
    host.path("proc/net/ip_vs").write_text(HEAD + MASQ)
    return host


@pytest.mark.parametrize("configuration", ["", "nat: required"])
def test_a_balancer_is_a_nat_host(balancer, configuration):
    """Without a rule and without tracking nothing is found, with the role and without."""
    report = checks.check(balancer, configuration)
    assert (checks.names(report), report.exit_code) == ({}, 0)
    assert report.verdict == "No fault found: IPv4 IPVS. No translation was observed."


def test_the_page_has_the_family(balancer):
    """The alerts know it from the page."""
    page = checks.page_of(checks.scrape(balancer))
    assert page.total("nat_ipvs", family="ipv4") == 1
    assert page.total("nat_ipvs", family="ipv6") is None


def test_where_nat_is_not_wanted_it_is_not_missed(balancer):
    """`nat: none` holds for IPVS too."""
    report = checks.check(balancer, "nat: none")
    assert (report.exit_code, report.verdict) == (0, "No fault found: NAT is not wanted here.")
