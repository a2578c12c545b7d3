"""kernel/forwarding.py and its collector: does this host route, and through which interfaces."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.collection import Gatherer
from netfilter_exporter.collectors.forwarding import COLLECTOR
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel import forwarding
from netfilter_exporter.kernel.errors import Malformed, ReadError, Status
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.attributes import pack
from netfilter_exporter.rules.families import Family
from support import corpus, wire
from support.script import connect, done, dumped


def netconf(ifindex, forwards, family=2, rp_filter=0):
    """Return an RTM_NEWNETCONF as the kernel fills it: numbers in host order."""
    numbers = {1: ifindex, 2: forwards, 3: rp_filter, 6: 0}
    return bytes([family, 0, 0, 0]) + b"".join(
        pack(type_, struct.pack("=i", number)) for type_, number in numbers.items()
    )


def test_each_interface_has_its_switch():
    """What is told of all interfaces and of new ones is left out."""
    connection, script = connect(
        [dumped(netconf(1, 0), netconf(2, 1), netconf(-1, 1), netconf(-2, 1)), done()]
    )
    found = forwarding.read_interfaces(connection, Family.IPV4)
    assert {index: each.forwarding for index, each in found.items()} == {1: False, 2: True}
    assert (script.requests[0].type, script.requests[0].payload) == (82, b"\2\0\0\0")


@pytest.mark.parametrize(
    ("of_all", "own", "effective"), [(0, 0, 0), (0, 1, 1), (1, 0, 1), (2, 1, 2), (1, 2, 2)]
)
def test_the_larger_rp_filter_is_in_effect(of_all, own, effective):
    """2 (loose) of all interfaces makes a strict one loose (IN_DEV_RPFILTER)."""
    answers = netconf(2, 1, rp_filter=own), netconf(-1, 1, rp_filter=of_all)
    connection, _ = connect([dumped(*answers), done()])
    found = forwarding.read_interfaces(connection, Family.IPV4)
    assert found[2].rp_filter == effective


@pytest.mark.parametrize("missing", [1, 2])
def test_an_answer_without_a_number_is_malformed(missing):
    """Nothing is guessed about an interface."""
    numbers = b"".join(pack(t, struct.pack("=i", 1)) for t in (1, 2) if t != missing)
    with pytest.raises(Malformed, match="no index of the interface, or no switch"):
        forwarding.parse_netconf(memoryview(b"\2\0\0\0" + numbers))


@given(corpus.mutated([netconf(3, 1), netconf(-1, 0)]) | st.binary(max_size=40))
def test_any_bytes_make_a_switch_or_an_error(content):
    """No bytes make anything but an index and a switch, or a ReadError."""
    try:
        message = memoryview(content)
        ifindex, forwards, _ = forwarding.parse_netconf(message).make(message)
    except ReadError:
        return
    assert -(1 << 31) <= ifindex < 1 << 31
    assert isinstance(forwards, bool)


# -- IPv6 ----------------------------------------------------------------------------------------


@pytest.fixture
def conf(tmp_path):
    """Return a function that writes net/ipv6/conf/INTERFACE/KEY."""

    def write(interface, key, value):
        file = tmp_path / "sys/net/ipv6/conf" / interface / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")

    write.paths = Paths(str(tmp_path))
    return write


@pytest.mark.parametrize(
    ("switches", "forwards"),
    [
        ({}, False),
        ({("all", "forwarding"): 1}, True),
        ({("all", "forwarding"): 2}, True),
        ({("all", "forwarding"): 0, ("lan0", "forwarding"): 1}, False),
        ({("all", "forwarding"): 0, ("lan0", "force_forwarding"): 1}, False),  # no such key in all
        (
            {
                ("all", "forwarding"): 0,
                ("all", "force_forwarding"): 0,
                ("lan0", "force_forwarding"): 0,
                ("wan0", "force_forwarding"): 1,
            },
            True,
        ),
        (
            {
                ("all", "forwarding"): 0,
                ("all", "force_forwarding"): 0,
                ("default", "force_forwarding"): 1,
                ("lo", "force_forwarding"): 1,
            },
            False,
        ),
    ],
)
def test_what_forwards_ipv6(conf, switches, forwards):
    """conf.all decides, or an interface that is forced; IF.forwarding alone does not."""
    for (interface, key), value in switches.items():
        conf(interface, key, value)
    assert forwarding.read_ipv6(conf.paths) is forwards


def test_garbage_is_not_taken_for_off(conf):
    """A switch that cannot be read is an error."""
    conf("all", "forwarding", "yes")
    with pytest.raises(Malformed):
        forwarding.read_ipv6(conf.paths)


# -- the collector -------------------------------------------------------------------------------


def scrape(host):
    """Return the samples of one scrape by metric, and the outcome."""
    outcome = Gatherer(Host(host.system)).gather([COLLECTOR]).outcomes["forwarding"]
    return {metric.name: dict(samples) for metric, samples in outcome.families}, outcome


def switch(host, value, *names):
    for name in names:
        host.path("proc/sys/net/ipv4", name).write_text(f"{value}\n")


ALL = ("ip_forward", "conf/all/forwarding", "conf/lan0/forwarding", "conf/wan0/forwarding")


def test_any_interface_that_forwards_is_forwarding(fake_host):
    """ip_forward=0 with two interfaces' own switches on does forward."""
    host = fake_host("6.1/nat-nft")
    switch(host, 0, *ALL, "conf/lo/forwarding")
    assert scrape(host)[0]["forwarding_enabled"][("ipv4",)] == 0
    switch(host, 1, "conf/lo/forwarding")
    assert scrape(host)[0]["forwarding_enabled"][("ipv4",)] == 0
    switch(host, 1, "conf/lan0/forwarding", "conf/wan0/forwarding")
    rows, _ = scrape(host)
    assert rows["forwarding_enabled"][("ipv4",)] == 1
    assert rows["interface_forwarding_disabled"] == {}


def test_an_interface_that_is_off_is_named(fake_host):
    """While ip_forward is 1, and not where it is the port of a bridge."""
    host = fake_host("6.1/nat-nft")
    switch(host, 1, *ALL)
    switch(host, 0, "conf/lan0/forwarding", "conf/wan0/forwarding", "conf/lo/forwarding")
    rows, _ = scrape(host)
    assert rows["interface_forwarding_disabled"] == {("lan0",): 1, ("wan0",): 1}
    host.path("sys/class/net/lan0/brport").mkdir(parents=True)
    rows, _ = scrape(host)
    assert rows["interface_forwarding_disabled"] == {("wan0",): 1}


def test_one_family_does_not_need_the_other(fake_host):
    """Where IPv4 cannot be read, IPv6 is served, and the status is an error; and the reverse."""
    host = fake_host("6.1/nat-nft")
    snmp, snmp6 = host.path("proc/net/snmp"), host.path("proc/net/snmp6")
    whole = snmp.read_bytes()
    snmp.write_bytes(b"garbage\n")
    host.kernel._answer_route = lambda *_: [wire.error(errno.EINVAL)]
    rows, outcome = scrape(host)
    assert set(rows["forwarding_enabled"]) == {("ipv6",)}
    assert set(rows["ip_forwarded_total"]) == {("ipv6",)}
    assert outcome.status is Status.ERROR
    snmp.write_bytes(whole)
    snmp6.write_bytes(b"garbage\n")
    rows, outcome = scrape(host)
    assert set(rows["ip_forwarded_total"]) == {("ipv4",)}
    assert outcome.status is Status.ERROR


def test_a_host_without_ipv6_has_no_ipv6_counters(fake_host):
    """A kernel without IPv6 does not forward it, and that is no failure."""
    host = fake_host("6.1/nat-nft")
    host.path("proc/net/snmp6").unlink()
    host.path("proc/sys/net/ipv6").rename(host.path("gone"))
    rows, outcome = scrape(host)
    assert rows["forwarding_enabled"][("ipv6",)] == 0
    assert set(rows["ip_forwarded_total"]) == {("ipv4",)}
    assert outcome.success
