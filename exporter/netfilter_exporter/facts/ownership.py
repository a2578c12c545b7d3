"""Facts about the addresses that rules name: which of them this host has, or lost.

What RTM_GETROUTE calls local belongs to this host: addresses of interfaces, AnyIP, VIPs. Service
addresses of Kubernetes, those that a cloud delivers and those of others were never local here, so
an address counts as lost only if it was local while this process ran, within the last day.
"""

from __future__ import annotations

from netfilter_exporter.facts.forwarding import interfaces_by_index
from netfilter_exporter.facts.snapshot import Host, Snapshot, kept
from netfilter_exporter.kernel import files, neighbors, route, vrrp
from netfilter_exporter.kernel.addresses import packed, written
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.messages import NETLINK_ROUTE
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.preconditions import Destinations

_DAY = 86400.0
#: Addresses that are looked up for one `World`: of more of them nothing is known.
_MOST = 32


class Ownership:
    """When each address was last seen to be local, on the system's clock."""

    def __init__(self) -> None:
        self._asked: set[tuple[Family, int]] = set()
        self._local: dict[tuple[Family, int], float] = {}

    def lost(self, snapshot: Snapshot, wanted: Destinations) -> str:
        """Return one of `wanted` if this host has none of them now and had them all.

        Nothing where another host has it now, or where VRRP decides who has it.
        """
        keys = [(wanted.family, number) for number in wanted.numbers]
        local = [self._is_local(snapshot, key) for key in keys]  # each is remembered
        if any(local):
            return ""
        if not all(key in self._local for key in keys):
            return ""
        if vrrp.is_spoken(snapshot.paths) or any(_is_elsewhere(snapshot, key) for key in keys):
            return ""
        return written(*keys[0])

    def is_missing(self, snapshot: Snapshot, key: tuple[Family, int]) -> bool:
        """Return whether no host has an address that should be on a network of this host.

        What is routed here, answered for by proxy ARP, another host's, or VRRP's to give is not
        missing, nor what cannot be decided.
        """
        if self._is_local(snapshot, key):
            return False
        connection = snapshot.connection(NETLINK_ROUTE)
        interface = route.is_connected(connection, packed(*key))
        if interface is None or _answers_for(snapshot, key[0], interface):
            return False
        try:
            is_proxied = neighbors.is_proxied(connection, interface, packed(*key))
            is_elsewhere = neighbors.is_neighbor(connection, interface, packed(*key))
        except ReadError:
            return False
        return not is_proxied and not is_elsewhere and not vrrp.is_spoken(snapshot.paths)

    def _is_local(self, snapshot: Snapshot, key: tuple[Family, int]) -> bool:
        """Return whether an address is local now, or is one too many to be looked up."""
        if key not in self._asked:
            if len(self._asked) >= _MOST:
                return True
            self._asked.add(key)
        found = route.ask(snapshot.connection(NETLINK_ROUTE), packed(*key))
        if found is None or not found.local:
            return False
        self._local[key] = snapshot.system.clock()
        return True

    def begin(self, snapshot: Snapshot) -> None:
        """Begin with another `World`: forget what was local longer than a day ago."""
        self._asked = set()
        oldest = snapshot.system.clock() - _DAY
        self._local = {key: at for key, at in self._local.items() if at > oldest}


def _is_elsewhere(snapshot: Snapshot, key: tuple[Family, int]) -> bool:
    """Return whether another host has an address, or whether that is unknown."""
    connection = snapshot.connection(NETLINK_ROUTE)
    found = route.ask(connection, packed(*key))
    if found is None:
        return False
    try:
        return neighbors.is_neighbor(connection, found.interface, packed(*key))
    except ReadError:
        return True


def _answers_for(snapshot: Snapshot, family: Family, interface: int) -> bool:
    """Return whether an interface answers for addresses of others, or needs no answer."""
    own = interfaces_by_index(snapshot).get(interface)
    if own is None:
        return True
    paths = snapshot.paths
    try:
        flags = int(files.read_bytes(paths.sys(f"class/net/{own}/flags")), 16)
        proxies = [
            files.read_int(paths.proc(f"sys/net/{family.value}/conf/{name}/{_PROXY[family]}"))
            for name in ("all", own)
        ]
    except (ReadError, ValueError):
        return True
    return bool(flags & _IFF_NOARP or any(proxies))


_PROXY = {Family.IPV4: "proxy_arp", Family.IPV6: "proxy_ndp"}
_IFF_NOARP = 0x80  # include/uapi/linux/if.h


@kept
def ownership(_: Host) -> Ownership:
    """Return what is known of the addresses that rules name."""
    return Ownership()
