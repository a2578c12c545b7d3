"""From a fault in a router to the notification, through real programs: a minute takes a second."""

import dataclasses
import socket
from pathlib import Path
from typing import Callable

import pytest

from support import alerting, needs, promstack
from support import limit as limits
from support.alerting import Notice
from support.namespace import Namespace
from support.process import running
from support.router import SERVER, Router

VERSIONS = ["2.42", "3"]
COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
#: The highest count of the table that the router's flows must leave to the host itself.
HOST_MAY_USE = 500

NAT = """
table ip nat {
  chain postrouting { type nat hook postrouting priority 100; oifname "wan0" masquerade; }
}
"""
STATEFUL = """
table ip6 filter {
  chain forward { type filter hook forward priority 0; ct state established accept; }
}
"""


pytestmark = pytest.mark.e2e


@dataclasses.dataclass
class Fault:
    """What is done to the router, undone, and told to whom meanwhile."""

    name: str
    do: Callable[[Router], None]
    undo: Callable[[Router], None]
    alert: str
    receiver: str
    within: float  #: minutes until the notification is there
    hold: float = 0  #: minutes that it goes on, so that causes have time to fire too
    causes: frozenset[str] = frozenset()  #: these fire by then, and nobody is told


def _nft(router, text):
    router.router.run("nft", "-f", "-", stdin=text)


def _fill(router):
    """Let the client open flows until the table is 97 % full."""
    limit = max(int(COUNT.read_text()) * 2, HOST_MAY_USE)
    router.router.sh("sysctl -q net.netfilter.nf_conntrack_udp_timeout=600")
    limits.LIMIT.write_text(str(limit))
    used = int(router.router.run("cat", str(COUNT)))
    router.client.call(_send_from_many_ports, SERVER, int(limit * 0.97) - used)


def _send_from_many_ports(address, count):
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"x", (address, 7007))


def _faults(limit):
    def empty(router):
        router.router.run("conntrack", "-F")
        limits.LIMIT.write_text(limit)

    ipv4 = "net.ipv4.ip_forward"
    return (
        Fault(
            "the rules are flushed",
            lambda r: r.router.run("nft", "flush", "table", "ip", "nat"),
            lambda r: _nft(r, NAT),
            "NetfilterConntrackDisabled",
            "pager",
            within=3.5,
            hold=16,
            causes=frozenset({"NetfilterNatRulesGone"}),
        ),
        Fault(
            "forwarding is switched off",
            lambda r: r.router.run("sysctl", "-q", f"{ipv4}=0"),
            lambda r: r.router.run("sysctl", "-q", f"{ipv4}=1"),
            "NetfilterNatForwardingDisabled",
            "pager",
            within=3.5,
            hold=2,
        ),
        Fault(
            "the table is full",
            _fill,
            empty,
            "NetfilterConntrackTableFilling",
            "pager",
            within=4,
            hold=6,
        ),
        Fault(
            "the stateful rules of a family without NAT go",
            lambda r: r.router.run("nft", "delete", "table", "ip6", "filter"),
            lambda r: _nft(r, STATEFUL),
            "NetfilterConntrackStopped",
            "tickets",
            within=18,
        ),
        Fault(
            "both backends translate",
            lambda r: r.router.sh("iptables-legacy -t nat -A POSTROUTING -o wan0 -j MASQUERADE"),
            lambda r: r.router.sh("iptables-legacy -t nat -F"),
            "NetfilterNatBackendsMixed",
            "tickets",
            within=23,
        ),
        Fault(
            "an accept comes before the translation",
            lambda r: r.router.run("nft", "insert", "rule", "ip", "nat", "postrouting", "accept"),
            lambda r: (r.router.run("nft", "flush", "table", "ip", "nat"), _nft(r, NAT)),
            "NetfilterNatRulesUnreachable",
            "tickets",
            within=23,
        ),
    )


@pytest.fixture
def programs():
    """What the test drives."""
    lacking = needs.root_and("ip", "nft", "iptables-legacy", "conntrack")
    if lacking:
        needs.lacks(lacking, forced=needs.E2E)
    with needs.packages():
        promstack.alertmanager()
        for version in VERSIONS:
            promstack.prometheus(version)


@pytest.fixture
def router():
    """A client, a router that translates, and a server."""
    made = []

    def make():
        made.append(Namespace())
        return made[-1]

    found = Router(make)
    _nft(found, NAT + STATEFUL)
    yield found
    for namespace in made:
        namespace.close()


@pytest.fixture
def limit():
    """The limit of all namespaces, which is put back."""
    with limits.kept():
        before = limits.LIMIT.read_text()
        yield before
        limits.LIMIT.write_text(before)


def _rootfs(folder):
    """Return a root whose sysctl.d asks for nothing, whatever this machine's does."""
    for name in ("lib/modules", "boot", "etc/modprobe.d"):
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/{name}")
    return folder


@pytest.mark.timeout(480)
@pytest.mark.usefixtures("programs")
def test_each_fault_arrives_as_one_notification_and_its_end_as_another(router, limit, tmp_path):
    """A person is told of each fault once, by its best name, and of its end; of causes never."""
    config = tmp_path / "config.yml"
    config.write_text("network_namespace: any\n")
    inside = ("nsenter", f"--net=/run/netns/{router.router.name}")
    flags = (
        "--web.listen-address=127.0.0.1:10042",
        f"--config.file={config}",
        f"--path.rootfs={_rootfs(tmp_path / 'root')}",
    )
    with alerting.running(router.router, VERSIONS, 10042, tmp_path) as stacks:
        with running(tmp_path / "exporter.log", *flags, prefix=inside):
            alerting.sleep(105)  # an hour of history, and the half hour until it is read
            assert [stack.notices() for stack in stacks] == [set()] * len(VERSIONS)
            for fault in _faults(limit):
                _told_once(fault, router, stacks)
        _told_that_the_exporter_is_gone(stacks)


def _told_once(fault, router, stacks):
    seen = [stack.sent() for stack in stacks]
    fault.do(router)
    firing = Notice(fault.receiver, "firing", fault.alert)
    resolved = firing._replace(status="resolved")
    for stack, before in zip(stacks, seen):
        promstack.wait_for(
            lambda s=stack, b=before: firing in s.notices(b),
            alerting.minutes(fault.within) + 2,
            f"{stack.version}: {fault.name}: {firing}",
        )
    alerting.sleep(fault.hold)
    for stack in stacks:
        assert stack.firing(router.router) == {fault.alert, *fault.causes}, stack.version
    fault.undo(router)
    for stack, before in zip(stacks, seen):
        promstack.wait_for(
            lambda s=stack, b=before: resolved in s.notices(b),
            alerting.minutes(20),
            f"{stack.version}: {fault.name}: {resolved}",
        )
        assert stack.notices(before) == {firing, resolved}, f"{stack.version}: {fault.name}"


def _told_that_the_exporter_is_gone(stacks):
    firing = Notice("tickets", "firing", "NetfilterExporterDown")
    seen = [stack.sent() for stack in stacks]
    for stack, before in zip(stacks, seen):
        promstack.wait_for(
            lambda s=stack, b=before: firing in s.notices(b), alerting.minutes(25), stack.version
        )
        assert stack.notices(before) == {firing}
