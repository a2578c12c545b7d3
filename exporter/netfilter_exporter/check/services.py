"""Who writes the rules of this host, and how each is made to write them again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from netfilter_exporter.check.shell import Line, fixed
from netfilter_exporter.kernel.container import shows_host
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.files import Paths, read_bytes


class Manager(NamedTuple):
    """A program that writes NAT rules."""

    name: str
    remedy: Line  #: the command that makes it write its rules again


#: In the order in which they are to be restarted: what flushes all rules comes first. By the names
#: of their processes, which the kernel cuts at fifteen characters.
_BY_PROCESS = (
    (("firewalld",), Manager("firewalld", fixed("firewall-cmd --reload"))),
    (
        ("dockerd",),
        Manager(
            "Docker", fixed("systemctl restart docker  # stops containers without live-restore")
        ),
    ),
    (("conmon", "podman"), Manager("Podman", fixed("podman network reload --all"))),
    (("libvirtd",), Manager("libvirt", fixed("systemctl restart libvirtd"))),
    (("virtnetworkd",), Manager("libvirt", fixed("systemctl restart virtnetworkd"))),
    (("lxd",), Manager("LXD", fixed("systemctl reload snap.lxd.daemon"))),
    (("incusd",), Manager("Incus", fixed("systemctl restart incus"))),
    (
        ("kube-proxy",),
        Manager("kube-proxy", fixed("kubectl -n kube-system rollout restart daemonset kube-proxy")),
    ),
    (("k3s", "k3s-server"), Manager("k3s", fixed("systemctl restart k3s"))),
    (("k3s-agent",), Manager("k3s", fixed("systemctl restart k3s-agent"))),
    (
        ("cilium-agent",),
        Manager("Cilium", fixed("kubectl -n kube-system rollout restart daemonset cilium")),
    ),
    (
        ("calico-node", "calico-felix"),
        Manager("Calico", fixed("kubectl -n kube-system rollout restart daemonset calico-node")),
    ),
    (("tailscaled",), Manager("Tailscale", fixed("systemctl restart tailscaled"))),
)

_UFW = Manager("ufw", fixed("ufw reload"))
_UFW_CONFIGURATION = "/etc/ufw/ufw.conf"


def managers(paths: Paths, processes: Iterable[str]) -> tuple[Manager, ...]:
    """Return those that are present: seen among the names of `processes`, or enabled (ufw)."""
    running = frozenset(processes)
    found = [manager for names, manager in _BY_PROCESS if running.intersection(names)]
    if _ufw_enabled(paths):
        found.insert(0, _UFW)
    return tuple(found)


def _ufw_enabled(paths: Paths) -> bool:
    """Return whether ufw, which is no process, sets up the firewall at boot."""
    if not shows_host(paths, _UFW_CONFIGURATION):
        return False
    try:
        content = read_bytes(paths.root(_UFW_CONFIGURATION))
    except ReadError:
        return False
    return b"ENABLED=yes" in content.splitlines()
