"""Three containers of Docker, and what the exporter and `check` say of their namespaces.

    python -m stage.containers ROOT

`web` is in a network of Docker's, in which its resolver translates, and has a name in /run/netns;
`full` tracks more connections than 80 % of the limit; `gone` is removed while pages are served.
Each has an interface that Docker does not know: it goes with the namespace, and not before.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from lab.results import packed
from stage import root
from stage.host import Host
from support.netns_helper import EXPORTER, UID, running_helper, unprivileged
from support.page import Page
from support.process import COMMAND, ENVIRONMENT, get, running
from writers import _docker

NAMES = ("web", "full", "gone")
_NETWORKS = {"web": "--network second"}
#: What a container's firewall would: Docker's resolver has `web` tracked.
_TRACK = "table ip t { chain c { type filter hook output priority 0; ct state new counter; }; }"
_FEW, _MANY = 7, 0.82
#: What requires no history.
_CHECKED = ("NetfilterNetnsTableFilling", "NetfilterNetnsDropping")
#: Sends datagrams to so many ports of loopback addresses that nobody listens to.
_SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[1])):
    sender.sendto(b"x", (f"127.1.{number >> 15}.1", 1 + number % (1 << 15)))
"""
#: Seconds for the next sample, which is taken 15 s after the last one.
_PATIENCE, _PAUSE = 40.0, 0.02

Facts = dict[str, Any]


def facts(folder: Path) -> Facts:
    """Return what is seen."""
    host = Host(root.private(folder))
    try:
        _docker.start(host)
        host.program("docker network create second")
        _docker.image(host)
        with running_helper() as helper:
            return _Containers(host, helper.path).facts()
    finally:
        host.close()


class _Containers:
    """They run, and track connections."""

    def __init__(self, host: Host, helper: str) -> None:
        self._host = host
        self._helper = (f"--netns.helper-socket={helper}", f"--netns.helper-user={UID}")
        self._pids = {name: _docker.run(host, name, _NETWORKS.get(name, "")) for name in NAMES}
        host.ip(f"netns attach web {self._pids['web']}")
        for name, pid in self._pids.items():
            host.ip(f"link add with-{name} type veth peer name unknown netns {pid}")
            if name not in _NETWORKS:
                self._inside(name, "nft", _TRACK)
            self._send(name, _FEW)

    def facts(self) -> Facts:
        """Look, break one, and remove two, under permanent scraping."""
        known = {"netns": self._netns(), "ids": self._ids(), "listed": self._listed()}
        flags = ("--collector.namespaces", *self._helper)
        prefix = unprivileged(EXPORTER, "net_admin")
        with running(Path("/tmp/log"), *flags, prefix=prefix) as exporter:
            tracked = {name: int(self._inside(name, "conntrack", "-C")) for name in NAMES}
            with _scraped(exporter.ports[0]) as last:
                _wait(lambda: last().samples("netns_nat_rules", netns="web"))
                page = last()
                self._send("full", int(_MANY * (page.total("conntrack_entries_limit") or 0)))
                checked = {each: self._checked(each) for each in ("all", "web", "nobody")}
                freed = {name: self._removed(name) for name in ("gone", "web")}
                gone = {known["netns"]["gone"], "web"}
                _wait(lambda: not gone & _served(last()))
                after = last().text
        return {
            **known,
            "tracked": tracked,
            "page": page.text,
            "checked": checked,
            "freed": freed,
            "after": after,
        }

    def _netns(self) -> dict[str, str]:
        """Return the inode number of each, which is its name if it has no other."""
        folders = {name: f"/proc/{pid}/net/stat" for name, pid in self._pids.items()}
        return {name: str(os.stat(folder).st_ino) for name, folder in folders.items()}

    def _ids(self) -> dict[str, str]:
        inspect = "docker inspect -f {{.Id}}"
        return {name: self._host.program(f"{inspect} {name}").strip() for name in NAMES}

    def _listed(self) -> int:
        """Return how many translating rules iptables lists in `web`."""
        listing = self._host.program(f"nsenter -t {self._pids['web']} -n iptables -t nat -S")
        return sum(" -j SNAT " in line or " -j DNAT " in line for line in listing.splitlines())

    def _inside(self, name: str, *command: str) -> str:
        enter = ("nsenter", "-t", str(self._pids[name]), "-n")
        return subprocess.run(
            [*enter, *command], check=True, text=True, stdout=subprocess.PIPE
        ).stdout

    def _send(self, name: str, count: int) -> None:
        self._inside(name, sys.executable, "-c", _SEND, str(count))

    def _checked(self, netns: str) -> list[tuple[str, str, str]]:
        """Return what `check` says of other namespaces: of which, how bad, and in words."""
        command = [*COMMAND, "check", "--json", "--interval=0", f"--netns={netns}", *self._helper]
        done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, check=False)
        return [
            (each["evidence"].get("netns", ""), each["severity"], each["summary"])
            for each in json.loads(done.stdout)["findings"]
            if each["alert"] in _CHECKED
        ]

    def _removed(self, name: str) -> float:
        """Stop and remove a container; return the seconds until its namespace is freed."""
        if name == "web":
            self._host.ip("netns del web")
        self._host.program(f"docker stop -t 0 {name}")
        self._host.program(f"docker rm {name}")
        began = time.monotonic()
        _wait(lambda: not Path(f"/sys/class/net/with-{name}").exists())
        return time.monotonic() - began


def _served(page: Page) -> set[str]:
    return {sample.labels["netns"] for sample in page.samples("netns_info")}


@contextlib.contextmanager
def _scraped(port: int) -> Iterator[Callable[[], Page]]:
    """Scrape without a pause; yield what returns the last page."""
    pages = [get(port)[1]]
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            pages[:] = [get(port)[1]]

    scraping = threading.Thread(target=scrape)
    scraping.start()
    try:
        yield lambda: Page(pages[0])
    finally:
        stop.set()
        scraping.join()


def _wait(done: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(_PAUSE)


def main(folder: str) -> int:
    """Print what is seen; what programs print goes elsewhere."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    output.write(packed(facts(Path(folder))))
    output.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
