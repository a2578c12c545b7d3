"""The host of a program: the lab's router, with the root that the programs are in."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Callable

from lab.peer import ECHO_PORT, Peer
from lab.router import SERVER, SERVER6, CommandFailed, Router

_PATIENCE, _PAUSE = 30.0, 0.05
_FORWARDING = "3"  #: BR_STATE_FORWARDING in include/uapi/linux/if_bridge.h (v6.18)
_ENVIRONMENT = "/usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C HOME=/root"


class Host(Router):
    """What programs' states are written with."""

    scraped_by_server = False  # a program's filter may drop it, as on real hosts

    def __init__(self, root: Path) -> None:
        self.root = root
        self._guests: list[Peer] = []
        super().__init__("stage", emulated=False)
        self.sh("ip link set lo up")
        self.sh(f"ip route add default via {SERVER}", f"ip -6 route add default via {SERVER6}")

    @property
    def _inside(self) -> str:
        return f"chroot {self.root} {_ENVIRONMENT}"

    def file(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the programs' root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that must be in a file of the programs' root."""
        path = self.root / name
        text = path.read_text()
        if old not in text:
            raise CommandFailed(f"{name} has no {old!r}")
        path.write_text(text.replace(old, new))

    def program(self, command: str, text: str = "", *, check: bool = True) -> str:
        """Run a command of the programs' root, as `run` runs one of the machine."""
        return self.run(f"{self._inside} {command}", text, check=check)

    def start(self, command: str, ready: Callable[[], bool]) -> subprocess.Popen[bytes]:
        """Start a daemon of the programs' root, and wait until it is ready.

        It lives as long as the namespace of processes.
        """
        log = Path("/tmp", command.split(maxsplit=1)[0].replace("/", "-"))
        with log.open("ab") as file:
            daemon = subprocess.Popen(
                [*self._inside.split(), *command.split()],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            self.until(lambda: daemon.poll() is not None or ready())
        except CommandFailed as error:
            raise CommandFailed(f"{command}: {error}\n{log.read_text()[-4000:]}") from error
        if daemon.poll() is not None:
            raise CommandFailed(f"{command}: {daemon.poll()}\n{log.read_text()[-4000:]}")
        return daemon

    @staticmethod
    def until(done: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + _PATIENCE
        while not done():
            if time.monotonic() > end:
                raise CommandFailed(f"not so within {_PATIENCE} s")
            time.sleep(_PAUSE)

    def has(self, text: str) -> bool:
        """Tell whether a text is in the rules, as nft or iptables-legacy-save print them."""
        return text in self.run("nft list ruleset") + self.run("iptables-legacy-save")

    def bus(self) -> None:
        """Start D-Bus, by which programs are configured."""
        socket = self.root / "run/dbus/system_bus_socket"
        self.start("dbus-daemon --system --nofork --nopidfile", socket.exists)

    def guest(self, bridge: str, address: str, gateway: str) -> None:
        """Attach a host to a bridge of the program: what a container or a virtual machine is."""
        name = f"guest{len(self._guests)}"
        self.ip(
            f"netns add {name}",
            f"link add {name} type veth peer name eth0 netns {name}",
            f"link set {name} master {bridge}",
            f"link set {name} up",
        )
        self.ip(
            "link set lo up",
            f"addr add {address} dev eth0",
            "link set eth0 up",
            f"route add default via {gateway}",
            namespace=name,
        )
        self.adopt(name)
        state = Path(f"/sys/class/net/{name}/brport/state")
        while state.read_text().strip() != _FORWARDING:  # with STP it listens first
            time.sleep(_PAUSE)

    def adopt(self, name: str) -> None:
        """Have a guest in a network namespace that a program has connected."""
        self.namespaces += (name,)
        self._guests.append(Peer(name))

    def _kinds(self) -> dict[str, tuple[Callable[..., int], str, int]]:
        """As the router's; guest, guest6: from the first guest to the server."""
        kinds = super()._kinds()
        if self._guests:
            kinds["guest"] = (self._guests[0].flows, SERVER, ECHO_PORT)
            kinds["guest6"] = (self._guests[0].flows, SERVER6, ECHO_PORT)
        return kinds

    def close(self) -> None:
        for guest in self._guests:
            guest.close()
        super().close()
