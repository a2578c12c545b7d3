"""A host with containers and a router as OpenStack makes it: each fault of theirs is seen.

Four processes with a namespace and the control group of a container, and a namespace without a
process between a network and the outside. Packets show what works; the page, `check` and the
shipped rules show what does not.
"""

import contextlib
import json
import os
import re
import subprocess
import time
import uuid

import pytest

from support import firing, limit
from support.containers import containers
from support.inhibition import Alert
from support.namespace import datagrams, run
from support.netns_helper import EXPORTER, UID, running_helper, unprivileged
from support.page import Page
from support.process import COMMAND, get, running
from support.series import Recorded

PRIVATE, FIXED, FLOATING = "10.0.0.6", "10.0.0.5", "203.0.113.10"
OUTSIDE = "203.0.113.1"
#: As the L3 agent of Neutron writes it.
ADDRESSES = f"""
ip link set lo up
ip addr add 10.0.0.1/24 dev qr-1
ip addr add 203.0.113.2/24 dev qg-1
ip addr add {FLOATING}/32 dev qg-1
ip link set qr-1 up
ip link set qg-1 up
"""
RULES = f"""
sysctl -qw net.ipv4.ip_forward=1
iptables-nft -w -t nat -N neutron-l3-agent-snat
iptables-nft -w -t nat -N neutron-l3-agent-PREROUTING
iptables-nft -w -t nat -N neutron-l3-agent-float-snat
iptables-nft -w -t nat -A POSTROUTING -j neutron-l3-agent-snat
iptables-nft -w -t nat -A PREROUTING -j neutron-l3-agent-PREROUTING
iptables-nft -w -t nat -A neutron-l3-agent-PREROUTING -d {FLOATING}/32 -j DNAT --to {FIXED}
iptables-nft -w -t nat -A neutron-l3-agent-float-snat -s {FIXED}/32 -j SNAT --to {FLOATING}
iptables-nft -w -t nat -A neutron-l3-agent-snat -j neutron-l3-agent-float-snat
iptables-nft -w -t nat -A neutron-l3-agent-snat -o qg-1 -j SNAT --to-source 203.0.113.2
"""
UNDO = "iptables-nft -w -t {table} -F; iptables-nft -w -t {table} -X"
EXEMPT = "iptables-nft -w -t raw -A PREROUTING -j CT --notrack"
TRACK = """
ip link set lo up
nft 'table ip t { chain c { type filter hook output priority 0; ct state new counter; }; }'
"""
#: More flows than there may be; the kernel drops the rest.
FLOOD = datagrams("127.0.0.1", range(2000, 2450), "127.0.0.1")
LIMIT = 300
PROBLEMS = ("warning", "critical")


class Host:
    """What is on the host, and what is seen of it."""

    def __init__(self, namespaces, stack, folder):
        self.folder = folder
        self.router = f"qrouter-{uuid.uuid4()}"
        run("ip", "netns", "add", self.router)
        stack.callback(run, "ip", "netns", "del", self.router)
        self.lan, self.wan = namespaces(), namespaces()
        self.helper = stack.enter_context(running_helper())
        self.containers = stack.enter_context(containers())
        self._connect()
        self.in_router(RULES)

    def _connect(self):
        for side, device in (self.lan, "qr-1"), (self.wan, "qg-1"):
            pair = ("eth0", "type", "veth", "peer", "name", device, "netns", self.router)
            side.run("ip", "link", "add", *pair)
            side.run("ip", "link", "set", "eth0", "up")
        self.in_router(ADDRESSES)
        for address in FIXED, PRIVATE:
            self.lan.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        self.lan.run("ip", "route", "add", "default", "via", "10.0.0.1")
        self.wan.run("ip", "addr", "add", f"{OUTSIDE}/24", "dev", "eth0")

    def in_router(self, script):
        return run("nsenter", f"--net=/run/netns/{self.router}", "sh", "-euc", script)

    def works(self):
        """Return whether both directions do: outside, nobody knows a way to the network."""
        pings = [
            *(self._pings(self.lan, "-I", address, OUTSIDE) for address in (PRIVATE, FIXED)),
            self._floats(),
        ]
        assert len(set(pings)) == 1, pings
        return pings[0]

    def _floats(self):
        """Return whether the floating address leads inside: the router has it too, and answers."""
        before = self._received()
        return self._pings(self.wan, FLOATING) and self._received() > before

    def _received(self):
        """Return how many echo requests the network has had (Icmp: InEchos)."""
        names, values = re.findall(
            r"^Icmp: (.*)", self.lan.run("cat", "/proc/net/snmp"), re.MULTILINE
        )
        return int(dict(zip(names.split(), values.split()))["InEchos"])

    def _pings(self, side, *arguments):
        with contextlib.suppress(Exception):
            side.run("ping", "-c1", "-W1", *arguments)
            return True
        return False

    def page(self):
        """Return the page of an exporter that has just looked."""
        flags = (
            *("--collector.namespaces", "--netns.exclude=nfx.*"),
            *(f"--netns.helper-socket={self.helper.path}", f"--netns.helper-user={UID}"),
        )
        prefix = unprivileged(EXPORTER, "net_admin")
        with running(self.folder / "log", *flags, prefix=prefix) as exporter:
            end = time.monotonic() + 30
            while not (found := Page(get(exporter.ports[0])[1])).samples("netns_info"):
                assert time.monotonic() < end, found.text
                time.sleep(0.1)
        assert found.total("source_status", source="netns_helper", status="ok") == 1
        return found

    def names(self, page):
        """Return under which name each container is on the page."""
        infos = page.samples("netns_info")
        return {
            info.labels["container"]: info.labels["netns"]
            for info in infos
            if info.labels["container"] in self.containers
        }

    def checked(self):
        """Return the problems of other namespaces that `check` finds, with what they are of."""
        helper = f"--netns.helper-socket={self.helper.path}", f"--netns.helper-user={UID}"
        command = [*COMMAND, "check", "--json", "--interval=1", "--netns=all", *helper]
        done = subprocess.run(command, capture_output=True, check=False)
        findings = json.loads(done.stdout)["findings"]
        return {
            (each["alert"], each["evidence"].get("netns"))
            for each in findings
            if each["alert"].startswith("NetfilterNetns") and each["severity"] in PROBLEMS
        }


@pytest.fixture
def host(namespaces, tmp_path):
    """Everything works."""
    with contextlib.ExitStack() as stack:
        made = Host(namespaces, stack, tmp_path)
        assert made.works()
        yield made


def of_router(host, page):
    """Return what the page says of the router's IPv4."""
    return {
        name: page.total(f"netns_{name}", netns=host.router, family="ipv4")
        for name in ("nat_rules", "conntrack_tracking", "forwarding_enabled")
    }


def fired(before, after, folder):
    """Return the alerts of other namespaces that fire once the pages `after` are served."""
    recorded = Recorded([before] * 8, [*after, *[after[-1]] * (8 - len(after))])
    moments = firing.evaluate({"host": recorded}, folder)["host"]
    assert not {each for each in moments.before if each.name.startswith("NetfilterNetns")}
    heard = frozenset().union(*moments.after)
    return {each for each in heard if each.name.startswith("NetfilterNetns")}


def test_containers_and_a_router(host, tmp_path):
    """Healthy, then each fault in turn: packets stop, the page shows it, its alert fires."""
    healthy = host.page()
    assert of_router(host, healthy) == {
        "nat_rules": 3,
        "conntrack_tracking": 1,
        "forwarding_enabled": 1,
    }
    assert healthy.total("netns_conntrack_entries", netns=host.router) >= 2
    names = host.names(healthy)
    assert names.keys() == host.containers.keys()
    assert {id_ for id_, name in names.items() if id_ == name} == {f"lxc{os.getpid()}"}
    (pod,) = {each.labels["pod"] for each in healthy.samples("netns_info")} - {""}
    assert uuid.UUID(pod)
    own = {host.router, *host.names(healthy).values()}
    assert not own & {netns for _, netns in host.checked()}

    host.in_router(UNDO.format(table="nat"))
    host.in_router("conntrack -F")
    assert not host.works()
    flushed = host.page()
    assert of_router(host, flushed)["nat_rules"] == 0
    critical = Alert("NetfilterNetnsNatRulesGone", "critical")
    assert critical in fired(healthy, [flushed], tmp_path)
    host.in_router(RULES)
    assert host.works()

    host.in_router(EXEMPT)
    assert not host.works()
    exempt = of_router(host, host.page())
    assert exempt["nat_rules"] == 3
    assert exempt["conntrack_tracking"] in {None, 0}, "no hook is listed, and no rule implies it"
    host.in_router(UNDO.format(table="raw"))
    assert host.works()

    host.in_router("sysctl -qw net.ipv4.ip_forward=0")
    assert not host.works()
    assert of_router(host, host.page())["forwarding_enabled"] == 0
    host.in_router("sysctl -qw net.ipv4.ip_forward=1")
    assert host.works()
    assert of_router(host, host.page()) == of_router(host, healthy)


def test_the_table_of_a_container_fills(host, tmp_path):
    """Only that container is named; what it drops counts too."""
    id_, process = next(iter(host.containers.items()))
    within = ("nsenter", f"--net=/proc/{process.pid}/ns/net")
    run(*within, "sh", "-euc", TRACK)
    healthy = host.page()
    name = host.names(healthy)[id_]
    with limit.changed(LIMIT):
        run(*within, "python3", "-c", FLOOD)
        full = host.page()
        run(*within, "python3", "-c", FLOOD)
        fuller = host.page()
        checked = host.checked()
    assert full.total("netns_conntrack_entries", netns=name) > 0.95 * LIMIT
    dropped = [page.total("netns_conntrack_drop_total", netns=name) for page in (full, fuller)]
    assert 0 < dropped[0] < dropped[1]
    others = {host.router, *host.names(healthy).values()} - {name}
    assert ("NetfilterNetnsTableFilling", name) in checked
    assert not others & {netns for _, netns in checked}
    names = {each.name for each in fired(healthy, [full, fuller], tmp_path)}
    assert names == {"NetfilterNetnsDropping", "NetfilterNetnsTableFilling"}
