"""Open vSwitch at the uplink: what the host routes passes its flows on the way to the server."""

from __future__ import annotations

from typing import Any

from lab.router import ROUTER_WAN, SERVER, VIRTUAL
from scenarios._hosts import probed

#: Interface of the host that is a port of the bridge.
BRIDGE = "br0"
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
#: Where the package's script finds it, through a link.
_DAEMON = "/usr/lib/openvswitch-switch/ovs-vswitchd"
_FOLDERS = "/var/run/openvswitch /etc/openvswitch"


def uplink(router: Any, *flows: str) -> None:
    """Make wan a port of a bridge, which has the host's address; `flows` are OpenFlow's."""
    probed(router)
    router.at_end(lambda: _stop(router))
    router.sh(
        "modprobe openvswitch",
        f"mkdir -p {_FOLDERS}",
        f"ovsdb-tool create /etc/openvswitch/conf.db {_SCHEMA}",
        "ovsdb-server --remote=punix:/var/run/openvswitch/db.sock --detach --no-chdir --pidfile",
        "ovs-vsctl --no-wait init",
        f"{_DAEMON} --detach --no-chdir --pidfile",
    )
    router.sh(
        f"ovs-vsctl add-br {BRIDGE} -- add-port {BRIDGE} wan",
        "ip addr flush dev wan",
        f"ip addr add {ROUTER_WAN}/24 dev {BRIDGE}",
        f"ip link set {BRIDGE} up",
        f"ip route add {VIRTUAL}/32 via {SERVER}",
        *(f"ovs-ofctl add-flow {BRIDGE} {flow}" for flow in flows),
    )


def _stop(router: Any) -> None:
    """End the daemons, and remove the bridge."""
    router.run("ovs-appctl -t ovs-vswitchd exit --cleanup", check=False)
    router.run("ovs-appctl -t ovsdb-server exit", check=False)
    router.run(f"rm -rf {_FOLDERS}")
