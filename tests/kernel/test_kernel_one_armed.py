"""Gateways with one interface, and clients with addresses of class E: judged as all others."""

from __future__ import annotations

import pytest

from support.gateway import CONNECTIONS, Gateway
from support.router import Router

INSTANCE = "10.88.0.2"


@pytest.fixture
def instance(namespaces):
    """A NAT instance of a cloud, whose gateway drops private addresses but the instance's own."""
    router, instance = Router(namespaces), namespaces()
    router.link(instance, "nat0", INSTANCE, "10.88.0.1", "fd79::{}")
    instance.sh("ip route add default via 10.88.0.1; sysctl -q net.ipv4.ip_forward=1")
    drop = f'iifname "nat0" ip saddr 10.0.0.0/8 ip saddr != {INSTANCE} drop'
    chain = f"chain c {{ type filter hook forward priority 0; {drop}\n}}"
    router.router.run("nft", "-f", "-", stdin=f"table ip f {{\n{chain}\n}}")
    router.router.sh(
        "sysctl -q net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.nat0.rp_filter=0"
        " net.ipv4.conf.lan0.rp_filter=0;"
        f" ip rule add iif lan0 lookup 7; ip route add default via {INSTANCE} table 7"
    )
    sources = [f"10.77.0.{host}" for host in range(10, 16)]
    router.client.sh("; ".join(f"ip address add {source}/24 dev eth0" for source in sources))
    return Gateway(router, instance, sources)


WORKS = (0, {}, f"NAT works: {CONNECTIONS}")
BROKEN = (2, {"NatUntranslated": "critical"}, f"NAT is broken: IPv4: {CONNECTIONS}")


def test_a_host_with_one_interface(instance):
    """Its connections prove that it translates, and that it does not for a renumbered network."""
    instance.load("ip saddr 10.77.0.0/16 masquerade")
    assert instance.check() == WORKS
    instance.load("ip saddr 10.66.0.0/16 masquerade")
    assert instance.check() == BROKEN


def test_a_second_interface_in_the_same_network(instance):
    """As where a cloud attaches a lasting interface to the instance of the day."""
    instance.gateway.sh(
        "ip link add eth1 type veth peer name x1;"
        " ip address add 10.88.0.3/24 dev eth1; ip link set eth1 up"
    )
    instance.load("ip saddr 10.66.0.0/16 masquerade")
    assert instance.check() == BROKEN


def test_another_network_makes_the_way_back_doubtful(instance):
    """What comes from the uplink of a router may be spoofed; what is translated proves NAT."""
    instance.gateway.sh(
        "ip link add eth1 type veth peer name x1;"
        " ip address add 10.99.0.1/24 dev eth1; ip link set eth1 up"
    )
    instance.load("ip saddr 10.77.0.0/16 masquerade")
    assert instance.check() == WORKS
    instance.load("ip saddr 10.66.0.0/16 masquerade")
    assert instance.check()[:2] == (3, {})


def test_a_bridge_is_not_an_arm(instance):
    """The connections of virtual machines that cross a hypervisor's bridge are not its own."""
    instance.gateway.sh(
        "ip link add br0 type bridge; ip address flush dev eth0; ip link set eth0 master br0;"
        f" ip link set br0 up; ip address add {INSTANCE}/24 dev br0;"
        " ip route add default via 10.88.0.1"
    )
    instance.load("ip saddr 10.66.0.0/16 masquerade")
    assert instance.check()[:2] == (3, {})


def test_pods_with_addresses_of_class_e(namespaces):
    """A cloud's pods are private too; a rule for the networks of RFC 1918 leaves them out."""
    router = Router(namespaces)
    sources = [f"240.10.0.{host}" for host in range(2, 8)]
    router.client.sh("; ".join(f"ip address add {source}/24 dev eth0" for source in sources))
    router.client.sh("ip route replace default via 240.10.0.1")
    router.router.sh("ip address add 240.10.0.1/24 dev lan0")
    router.server.sh("ip route del default")
    gateway = Gateway(router, router.router, sources)
    gateway.load('oifname "wan0" masquerade')
    assert gateway.check() == WORKS
    gateway.load('oifname "wan0" ip saddr 10.0.0.0/8 masquerade')
    assert gateway.check() == BROKEN
