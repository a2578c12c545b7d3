"""A bridge of the NAT host, with two pods as its ports: a Kubernetes node in small."""

from __future__ import annotations

from typing import Callable

from lab.peer import Peer

NAME, ADDRESS = "cni0", "10.94.0.1"
PODS = ("10.94.0.2", "10.94.0.3")
SERVICE = "10.96.0.10"  #: no host's; rules translate it to the second pod


class Bridge:
    """The bridge and its pods; `run` runs a command of the host."""

    def __init__(self, run: Callable[[str], str], prefix: str) -> None:
        self.namespaces = (f"{prefix}-a", f"{prefix}-b")
        run(f"ip link add {NAME} type bridge")
        run(f"ip link set {NAME} up")
        run(f"ip addr add {ADDRESS}/24 dev {NAME}")
        self.pods = [
            _pod(run, name, f"pod{number}", address)
            for number, (name, address) in enumerate(zip(self.namespaces, PODS))
        ]

    def close(self) -> None:
        """End the pods' processes; namespaces and interfaces are the router's to remove."""
        for pod in self.pods:
            pod.close()


def _pod(run: Callable[[str], str], name: str, port: str, address: str) -> Peer:
    inner = f"ip -n {name}"
    for command in (
        f"ip netns add {name}",
        f"ip link add {port} type veth peer name eth0 netns {name}",
        f"ip link set {port} master {NAME}",
        f"ip link set {port} up",
        f"{inner} link set lo up",
        f"{inner} addr add {address}/24 dev eth0",
        f"{inner} link set eth0 up",
        f"{inner} route add default via {ADDRESS}",
    ):
        run(command)
    return Peer(name)
