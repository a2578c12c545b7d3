"""kernel/bridges.py and its facts: whether bridged packets meet the rules."""

import pytest

from netfilter_exporter.collectors.forwarding import COLLECTOR
from netfilter_exporter.facts import bridges
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules.families import Family


class Tree:
    """The files of a host with interfaces."""

    def __init__(self, root):
        self.root = root
        self.names = {}
        system = System(
            paths=Paths(f"{root}/proc", f"{root}/sys", str(root)), interfaces=lambda: self.names
        )
        self.host = Host(system)
        (root / "proc/sys/net/netfilter").mkdir(parents=True)

    def write(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def bridge(self, name, *ports, own=None):
        """Add a bridge; `own` is its own nf_call_iptables."""
        folder = self.root / f"sys/class/net/{name}"
        (folder / "bridge").mkdir(parents=True)
        (folder / "brif").mkdir()
        for port in ports:
            (folder / "brif" / port).mkdir()
            self.add(port)
        if own is not None:
            self.write(f"sys/class/net/{name}/bridge/nf_call_iptables", f"{own}\n")
        self.add(name)

    def add(self, name):
        self.names[name] = len(self.names) + 1

    def calls(self, value, family="ip"):
        self.write(f"proc/sys/net/bridge/bridge-nf-call-{family}tables", f"{value}\n")

    def count(self, metric="nat_bypassing_bridges"):
        """Return the samples of a metric, by family."""
        row = next(row for row in COLLECTOR.metrics if row.name == metric)
        return {family: value for (family,), value in row.samples(self.host.snapshot(1))}


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_a_bridge_without_br_netfilter_is_a_bypass(tree):
    """From its second port on: with one there is nobody to forward to."""
    tree.bridge("cni0", "veth1")
    assert tree.count() == {"ipv4": 0, "ipv6": 0}
    tree.bridge("virbr0", "vnet1", "vnet2")
    assert tree.count() == {"ipv4": 1, "ipv6": 1}
    assert tree.count("bridge_netfilter") == {"ipv4": 0, "ipv6": 0}


def test_the_switch_of_all_bridges(tree):
    """Each family has its own."""
    tree.bridge("cni0", "veth1", "veth2")
    tree.calls(1)
    tree.calls(0, "ip6")
    assert tree.count() == {"ipv4": 0, "ipv6": 1}
    assert tree.count("bridge_netfilter") == {"ipv4": 1, "ipv6": 0}


def test_the_switch_of_one_bridge(tree):
    """It asks for the hooks also while that of all bridges is 0."""
    tree.bridge("cni0", "veth1", "veth2", own=1)
    tree.bridge("br1", "veth3", "veth4", own=0)
    tree.calls(0)
    assert tree.count()["ipv4"] == 1


def test_interfaces_come_and_go(tree):
    """A name that becomes another interface's is looked at again."""
    tree.add("br0")
    assert tree.count() == {"ipv4": 0, "ipv6": 0}
    del tree.names["br0"]
    assert tree.count() == {"ipv4": 0, "ipv6": 0}
    tree.add("x")
    tree.bridge("br0", "a", "b")
    assert tree.count() == {"ipv4": 1, "ipv6": 1}
    del tree.names["br0"]
    (tree.root / "sys/class/net/br0").rename(tree.root / "gone")
    assert tree.count() == {"ipv4": 0, "ipv6": 0}
    assert bridges.bypassing_bridges(tree.host.snapshot(1)) == dict.fromkeys(Family, 0)
