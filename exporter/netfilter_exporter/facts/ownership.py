"""Facts about the addresses that rules name: which of them this host has, or lost.

What RTM_GETROUTE calls local belongs to this host: addresses of interfaces, AnyIP, VIPs. Service
addresses of Kubernetes, those that a cloud delivers and those of others were never local here, so
an address counts as lost only if it was local while this process ran, within the last day.
"""

from __future__ import annotations

from netfilter_exporter.facts.snapshot import Host, Snapshot, kept
from netfilter_exporter.kernel import neighbors, route, vrrp
from netfilter_exporter.kernel.addresses import packed, written
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.messages import NETLINK_ROUTE
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.preconditions import Destinations

_DAY = 86400.0
#: Addresses that are asked for in a scrape: of more of them nothing is known.
_MOST = 32


class Ownership:
    """When each address was last seen to be local, on the system's clock."""

    def __init__(self) -> None:
        self._asked: set[tuple[Family, int]] = set()
        self._local: dict[tuple[Family, int], float] = {}

    def lost(self, snapshot: Snapshot, wanted: Destinations) -> str:
        """Return one of `wanted` if this host has none of them any more and had them all.

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

    def _is_local(self, snapshot: Snapshot, key: tuple[Family, int]) -> bool:
        """Return whether an address is local now, or is one too many to be asked for."""
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
        """Begin a scrape: forget what was local longer than a day ago."""
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


@kept
def ownership(_: Host) -> Ownership:
    """Return what is known of the addresses that rules name."""
    return Ownership()
