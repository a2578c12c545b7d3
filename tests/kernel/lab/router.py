"""The NAT host: this network namespace, between a client and a server, with real flows.

The server knows no way back to the client, as in the internet: an answer arrives only while what
the client sends is translated.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable

from lab.advertiser import Advertiser
from lab.bridge import SERVICE, Bridge
from lab.exporter import Exporter
from lab.peer import ECHO_PORT, Peer, exchange

LAN, WAN = "lan", "wan"
CLIENT, CLIENT6 = "10.0.1.2", "fd00:1::2"
SERVER, SERVER6 = "203.0.113.2", "fd00:2::2"
ROUTER_LAN, ROUTER_LAN6 = "10.0.1.1", "fd00:1::1"
ROUTER_WAN, ROUTER_WAN6 = "203.0.113.1", "fd00:2::1"
PUBLISHED = 8080  #: the router's port that is forwarded to the client
VIRTUAL = "198.51.100.1"  #: no host's; OUTPUT may send it to the server
FAR6 = "2001:db8:64::1"  #: of the server, behind its default route

#: Of kind outbound: other hosts of the LAN, and hosts of the internet; see `population`.
SOURCES = tuple(f"10.0.1.{host}" for host in range(20, 25))
DESTINATIONS = tuple(f"203.0.113.{host}" for host in range(20, 24))

_BIRTHS, _PACE = 15, 0.4
_FLOWS = 3
_RETRIES = 2
_MANY = 12
_BULK = 200
_IP_TRANSPARENT = 19  # include/uapi/linux/in.h (v6.18)


class CommandFailed(Exception):
    """A command of a scenario failed: the text is its complaint."""


class Router:
    """What scenarios are written with."""

    scraped_by_server = True  #: as over a network; otherwise the host scrapes itself

    def __init__(
        self, prefix: str, *, network: bool = True, emulated: bool = True, dense: bool = False
    ) -> None:
        self.dense = dense  #: see `Scenario`
        self.emulated = emulated  #: a slow CPU: rulesets of thousands take minutes
        self._prefix = prefix
        self.namespaces = (f"{prefix}-client", f"{prefix}-server")
        self._bridge: Bridge | None = None
        self._advertiser: Advertiser | None = None
        self._listening: list[socket.socket] = []
        self._undo: list[tuple[str, str]] = []
        self.hidden: list[tuple[Path, Path]] = []
        self._written: list[Path] = []
        self._at_end: list[Callable[[], object]] = []
        self.exporter: Exporter | None = None  #: once the host is set up
        self.client: Peer | None = None
        self.server: Peer | None = None
        if network:
            self._build()

    # -- what scenarios do -----------------------------------------------------------------

    def run(self, command: str, text: str = "", *, check: bool = True) -> str:
        """Run a command without a shell, with `text` as its input; return what it says."""
        done = subprocess.run(
            command.split(), input=text, capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode:
            complaint = done.stderr.strip() or done.stdout or done.returncode
            raise CommandFailed(f"{command}: {complaint}")
        return done.stdout

    def sh(self, *commands: str) -> None:
        """Run commands one after the other."""
        for command in commands:
            self.run(command)

    def ip(self, *commands: str, namespace: str | None = None) -> None:
        """Run commands of ip(8) in one process: an emulated CPU takes long to start one."""
        inside = f"-n {namespace} " if namespace else ""
        self.run(f"ip {inside}-batch -", "\n".join(commands))

    def nft(self, ruleset: str) -> None:
        """Load a file for nft."""
        self.run("nft -f -", ruleset)

    def sysctl(self, name: str, value: int | str) -> None:
        """Write a sysctl; it is put back at the end, unless its module is gone by then."""
        path = Path("/proc/sys") / name.replace(".", "/")
        self._undo.append((str(path), path.read_text()))
        path.write_text(f"{value}\n")

    def write(self, name: str, text: str) -> None:
        """Write a file of the machine; it is removed at the end. Only in a guest."""
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._written.append(path)
        path.write_text(text)

    def hide(self, name: str) -> None:
        """Take a folder of the machine away; it is put back at the end. Only in a guest."""
        path = Path(name).resolve()
        aside = Path("/root") / path.name
        shutil.move(str(path), str(aside))
        self.hidden.append((aside, path))

    def at_end(self, undo: Callable[[], object]) -> None:
        """Have something done before the host ends, after a failure too."""
        self._at_end.append(undo)

    def unload(self, *modules: str) -> None:
        """Remove modules, in this order."""
        for module in modules:
            self.run(f"rmmod {module}")

    def unload_all(self) -> None:
        """Flush every ruleset and remove every module of netfilter that can be removed."""
        flush()
        unload({name for name in loaded() if not name.startswith("veth")})

    def population(self) -> None:
        """Give the client and the server the addresses of several hosts."""
        for namespace, addresses in zip(self.namespaces, (SOURCES, DESTINATIONS)):
            self.ip(*(f"addr add {a}/24 dev eth0" for a in addresses), namespace=namespace)

    def settle(self, seconds: float = 9.0) -> None:
        """Go on with flows of kind outbound, until those without a reply are old enough.

        That takes five seconds. A look that an emulated CPU cuts short, or after which the exporter
        changes the source, starts the panel again: births that are awaited are lost, once.
        """
        assert self.client
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.client.outbound(SOURCES, DESTINATIONS, _BIRTHS, _PACE)

    def modules(self) -> set[str]:
        """Return the names in /proc/modules."""
        return set(loaded())

    # -- flows -----------------------------------------------------------------------------

    def flows(self, kind: str, *, expected: bool) -> bool:
        """Start new flows of a kind; return whether they got through: all of them, or none.

        `expected` to get through, they are waited for.

        out, out6, far6: from the client to the server, or to FAR6 behind it; in: from the server to
        what the router publishes for the client; service: from the client to VIRTUAL; bridged: from
        the first pod of `bridge` to SERVICE; local: from the router to an address that OUTPUT
        translates; host: from the router itself to the server; many: more than a handful to one
        address, as out; outbound: as many as a page stands for at one a second, of several sources
        to several destinations, see `population`; bulk: a load from the client that
        nobody answers.
        """
        assert self.client
        assert self.server
        if kind == "bulk":
            self.client.burst(SERVER, _BULK)
            return True
        if kind == "outbound":
            answered = self.client.outbound(SOURCES, DESTINATIONS, _BIRTHS, _PACE, patient=expected)
            if 0 < answered < _BIRTHS:
                raise CommandFailed(f"{kind}: {answered} of {_BIRTHS} connections were answered")
            return answered > 0
        if kind == "many":
            return self.client.flows(SERVER, ECHO_PORT, _MANY, tcp=False, patient=expected) == _MANY
        answered = self._answered(kind, patient=expected)
        for _ in range(_RETRIES if expected else 0):
            if answered <= 1 or answered > _FLOWS:
                break
            answered = self._answered(kind, patient=expected)  # a busy machine is late for one
        if 1 < answered <= _FLOWS:
            raise CommandFailed(f"{kind}: {answered} of {_FLOWS + 1} flows were answered")
        return answered > 1  # one may have met the entry of an older flow

    def _answered(self, kind: str, *, patient: bool) -> int:
        start, address, port = self._kinds()[kind]
        return start(address, port, _FLOWS, patient=patient)

    def _kinds(self) -> dict[str, tuple[Callable[..., int], str, int]]:
        """Return what starts flows of each kind, and where they go."""
        assert self.client
        assert self.server
        pod = self._bridge.pods[0] if self._bridge else self.client
        return {
            "out": (self.client.flows, SERVER, ECHO_PORT),
            "out6": (self.client.flows, SERVER6, ECHO_PORT),
            "far6": (self.client.flows, FAR6, ECHO_PORT),
            "in": (self.server.flows, ROUTER_WAN, PUBLISHED),
            "service": (self.client.flows, VIRTUAL, ECHO_PORT),
            "bridged": (pod.flows, SERVICE, ECHO_PORT),
            "local": (exchange, VIRTUAL, ECHO_PORT),
            "host": (exchange, SERVER, ECHO_PORT),
        }

    # -- more of a network -----------------------------------------------------------------

    def bridge(self) -> None:
        """Make a bridge with two pods."""
        self._bridge = Bridge(self.run, self._prefix)
        self.namespaces += self._bridge.namespaces

    def advertise(self, lifetime: int) -> None:
        """Have the server advertise itself as the default router, again and again."""
        _, server = self.namespaces[:2]
        self.run(f"ip -n {server} -6 addr add {FAR6}/128 dev lo nodad")
        # Its answers over UDP come from there too.
        self.run(f"ip -n {server} -6 route add {ROUTER_WAN6}/128 dev eth0 src {FAR6}")
        self._advertiser = Advertiser(server, "eth0", lifetime)

    @property
    def pods(self) -> list[Peer]:
        """The pods of `bridge`."""
        assert self._bridge
        return self._bridge.pods

    def listen(self, port: int) -> None:
        """Accept connections to a port of any address, as a transparent proxy."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        listening.bind(("", port))
        listening.listen(1024)
        self._listening.append(listening)

    # -- building and clearing -------------------------------------------------------------

    def _build(self) -> None:
        client, server = self.namespaces[:2]
        self.ip(f"netns add {client}", f"netns add {server}")
        self._connect(LAN, client, (ROUTER_LAN, CLIENT), (ROUTER_LAN6, CLIENT6))
        self._connect(WAN, server, (ROUTER_WAN, SERVER), (ROUTER_WAN6, SERVER6))
        self.ip(
            f"route add default via {ROUTER_LAN}",
            f"route add default via {ROUTER_LAN6}",
            namespace=client,
        )
        self.ip(f"route add {VIRTUAL}/32 via {SERVER}")
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.client, self.server = Peer(client), Peer(server)

    def _connect(
        self, name: str, namespace: str, ipv4: tuple[str, str], ipv6: tuple[str, str]
    ) -> None:
        self.ip(
            f"link add {name} type veth peer name eth0 netns {namespace}",
            f"addr add {ipv4[0]}/24 dev {name}",
            f"addr add {ipv6[0]}/64 dev {name} nodad",
            f"link set {name} up",
        )
        self.ip(
            "link set lo up",
            f"addr add {ipv4[1]}/24 dev eth0",
            f"addr add {ipv6[1]}/64 dev eth0 nodad",
            "link set eth0 up",
            namespace=namespace,
        )

    def close(self) -> None:
        """Remove what was made, also after a failure; modules stay."""
        for undo in reversed(self._at_end):
            undo()
        for each in (self._advertiser, self.client, self.server, self._bridge, *self._listening):
            if each:
                each.close()
        for aside, path in reversed(self.hidden):
            shutil.move(str(aside), str(path))
        for written in self._written:
            written.unlink(missing_ok=True)
        for name, value in reversed(self._undo):
            with contextlib.suppress(OSError):
                Path(name).write_text(value)
        self._unbuild()

    def _unbuild(self) -> None:
        for namespace in self.namespaces:
            if Path("/run/netns", namespace).exists():
                self.run(f"ip netns del {namespace}", check=False)
        for interface in os.listdir("/sys/class/net"):
            if interface != "lo":
                self.run(f"ip link del {interface}", check=False)


def loaded() -> list[str]:
    """Return the names in /proc/modules, in its order: what uses a module stands before it."""
    try:
        lines = Path("/proc/modules").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line.split()[0] for line in lines]


def unload(modules: set[str]) -> None:
    """Remove those of `modules` that nothing uses, until nothing more goes."""
    while True:
        before = loaded()
        names = [name for name in before if name in modules]
        if names:  # one process for all: it goes on behind one that is in use
            subprocess.run(["rmmod", *names], capture_output=True, check=False)
        if len(loaded()) == len(before):
            return


def flush() -> None:
    """Empty every ruleset of this namespace, without making any: a tool would load its modules."""
    commands = ["nft flush ruleset"] if "nf_tables" in loaded() or not loaded() else []
    for names, tool in (
        ("/proc/net/ip_tables_names", "iptables-legacy"),
        ("/proc/net/ip6_tables_names", "ip6tables-legacy"),
    ):
        if os.path.exists(names):
            for table in Path(names).read_text().split():
                commands += [f"{tool} -t {table} -F", f"{tool} -t {table} -X"]
                commands += [f"{tool} -t {table} -P {chain} ACCEPT" for chain in _chains(table)]
    for command in commands:
        subprocess.run(command.split(), capture_output=True, check=False)


def _chains(table: str) -> tuple[str, ...]:
    return ("FORWARD", "INPUT", "OUTPUT") if table == "filter" else ()
