"""Hosts in network namespaces, each with a real exporter, and a network that watches them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable

from support.namespace import Namespace, run
from support.process import Exporter, running
from support.router import Router

PORT = 10042
WATCHER = "10.99.0.1"

#: As a small gateway has them; wan0 and lan0 are the router's links.
GATEWAY_RULES = """
flush ruleset
table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "wan0" tcp dport 8443 dnat to 10.77.0.2:443
    iifname "wan0" tcp dport 8080 dnat to 10.77.0.2:80
    iifname "lan0" udp dport 53 redirect to :53
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan0" meta l4proto { tcp, udp } counter masquerade to :20000-29999
  }
}
table ip6 nat6 {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan0" counter masquerade
  }
}
"""
#: A careless edit: an interface that is not there, an early verdict, a sleeping table, notrack.
BROKEN_RULES = """
flush ruleset
table ip raw {
  chain prerouting {
    type filter hook prerouting priority raw;
    udp dport 4789 notrack
  }
}
table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "wan1" tcp dport 8443 dnat to 10.77.0.2:443
    accept
    iifname "wan0" tcp dport 8080 dnat to 10.77.0.2:80
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan0" counter masquerade
  }
}
table ip6 nat6 {
  flags dormant
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan0" counter masquerade
  }
}
"""
#: As Docker writes them.
CONTAINER_RULES = """
table ip nat {
  chain DOCKER {
    iifname "docker0" return
    iifname != "docker0" tcp dport 5432 dnat to 172.17.0.2:5432
  }
  chain PREROUTING {
    type nat hook prerouting priority dstnat;
    fib daddr type local jump DOCKER
  }
  chain POSTROUTING {
    type nat hook postrouting priority srcnat;
    oifname != "docker0" ip saddr 172.17.0.0/16 masquerade
  }
}
"""


class Host:
    """A watched host: its namespace, and the exporter that runs in it."""

    def __init__(self, name: str, namespace: Namespace, exporter: Exporter, address: str) -> None:
        self.name = name
        self.namespace = namespace
        self.exporter = exporter
        self.address = address

    def load(self, rules: str) -> None:
        """Load an nftables ruleset."""
        self.namespace.run("nft", "-f", "-", stdin=rules)


class Hosts:
    """Makes hosts on one network; `watcher` is the namespace that Prometheus runs in."""

    def __init__(
        self, make: Callable[[], Namespace], folder: Path, stack: contextlib.ExitStack
    ) -> None:
        self._make, self._folder, self._stack = make, folder, stack
        self.all: list[Host] = []
        self.watcher = make()
        self.watcher.sh(
            f"ip link add mon0 type bridge; ip address add {WATCHER}/24 dev mon0;"
            " ip link set mon0 up"
        )

    def add(
        self,
        name: str,
        *flags: str,
        namespace: Namespace | None = None,
        config: object = None,
        prefix: Sequence[str] = (),
    ) -> Host:
        """Connect a namespace, and start its exporter."""
        namespace = namespace or self._make()
        address = f"10.99.0.{len(self.all) + 10}"
        end = f"h{len(self.all)}"
        run("ip", "-n", self.watcher.name, "link", "add", end, "type", "veth", "peer", "name",
            "mgmt0", "netns", namespace.name)  # fmt: skip
        self.watcher.sh(f"ip link set {end} master mon0; ip link set {end} up")
        namespace.sh(f"ip address add {address}/24 dev mgmt0; ip link set mgmt0 up")
        more = [f"--web.listen-address={address}:{PORT}", *flags]
        if config is not None:
            file = self._folder / f"{name}.yml"
            file.write_text(json.dumps(config))
            more.append(f"--config.file={file}")
        inside = ("nsenter", f"--net=/run/netns/{namespace.name}", *prefix)
        log = self._folder / f"{name}.log"
        exporter = self._stack.enter_context(running(log, *more, prefix=inside))
        host = Host(name, namespace, exporter, address)
        self.all.append(host)
        return host

    def targets(self) -> list[dict[str, object]]:
        """Return the targets for Prometheus, called as the hosts are."""
        return [
            {"targets": [f"{host.address}:{PORT}"], "labels": {"instance": f"{host.name}:{PORT}"}}
            for host in self.all
        ]


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[tuple[Hosts, Router]]:
    """Yield an empty network of hosts, and a router with a client and a server behind it."""
    made: list[Namespace] = []

    def make() -> Namespace:
        made.append(Namespace())
        return made[-1]

    try:
        with contextlib.ExitStack() as stack:
            yield Hosts(make, folder, stack), Router(make)
    finally:
        for namespace in made:
            namespace.close()


def router_traffic(router: Router, seconds: float, per_second: int) -> None:
    """Have the client send datagrams and open connections through the router, in the background."""
    script = (
        "import socket,time\n"
        f"end=time.time()+{seconds}\n"
        "n=0\n"
        "while time.time()<end:\n"
        " s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
        " s.sendto(b'x',('198.51.100.2',7007)); s.close(); n+=1\n"
        " c=socket.socket(); c.setblocking(False)\n"
        " c.connect_ex(('198.51.100.2',7007)); c.close()\n"
        f" time.sleep(1/{per_second})\n"
    )
    router.client.sh(f'nohup python3 -c "{script}" >/dev/null 2>&1 &')
