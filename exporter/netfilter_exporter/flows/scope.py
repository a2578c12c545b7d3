"""Which flows are outbound: the scope in which translation and answers are judged.

A flow is outbound if its source is private, is not an address of this host and is reached through
an interface that is not the egress, and if its destination is global. What fails any of these is
not judged: a spoofed source is usually reached through the egress, or not at all.

A host with one interface (a NAT instance in a cloud, a VPN gateway without a tunnel device) has no
other way back. There, flows that leave by the interface they came from are outbound too, and
anywhere those whose source was translated: nothing but a NAT rule does that.
"""

from __future__ import annotations

import enum
from typing import Callable, NamedTuple

from netfilter_exporter.flows.networks import PRIVATE_PREFIXES, SPECIAL_PREFIXES, Networks, Prefixes
from netfilter_exporter.kernel.conntrack.flow import Flow
from netfilter_exporter.kernel.route import Route
from netfilter_exporter.rules.families import Family


class Scope(enum.Enum):
    """Where a flow goes; the value is the `scope` label."""

    OUTBOUND = "outbound"
    PRIVATE = "private"  #: from a private network to another: judged only where configured
    OTHER = "other"

    __hash__ = object.__hash__  # as of Family


#: Returns the route to a packed address, None where there is none for unicast.
AskRoute = Callable[[bytes], "Route | None"]


def _never(_: Family, __: int) -> bool:
    return False


class Routes(NamedTuple):
    """What is known of the ways to addresses."""

    to: AskRoute
    #: Returns whether all networks of a family that this host is in are at one interface.
    is_only: Callable[[Family, int], bool] = _never


class Classifier:
    """Finds the scope of flows, for one configuration."""

    def __init__(self, networks: Networks = Networks()) -> None:  # noqa: B008 - immutable
        self._private = Prefixes(networks.private)
        self._global = Prefixes(networks.global_)
        self._from, self._to = Prefixes(networks.outbound_from), Prefixes(networks.outbound_to)

    def scope(self, flow: Flow, routes: Routes) -> Scope:
        """Return the scope of a flow; routes are looked up only where addresses leave it open."""
        wanted = self._by_addresses(flow)
        if wanted is not Scope.OTHER and _is_forwarded(flow, routes):
            return wanted
        return Scope.OTHER

    def _by_addresses(self, flow: Flow) -> Scope:
        if flow.source in self._from and flow.destination in self._to:
            return Scope.OUTBOUND
        if not self.is_private(flow.source):
            return Scope.OTHER
        if self.is_private(flow.destination):
            return Scope.PRIVATE
        return Scope.OUTBOUND if self.is_global(flow.destination) else Scope.OTHER

    def is_private(self, address: bytes) -> bool:
        """Return whether an address is of a private network."""
        return address in self._private or (
            address in PRIVATE_PREFIXES and address not in self._global
        )

    def is_global(self, address: bytes) -> bool:
        """Return whether an address is reachable on the internet."""
        special = address in PRIVATE_PREFIXES or address in SPECIAL_PREFIXES
        return address in self._global or not (special or address in self._private)


def _is_forwarded(flow: Flow, routes: Routes) -> bool:
    """Return whether a flow comes from behind this host and leaves, as far as is known."""
    back = routes.to(flow.source)
    if back is None or back.local:
        return False
    egress = routes.to(flow.destination)
    if egress is None or egress.local:
        return False
    if egress.interface != back.interface or flow.translated.source:
        return True
    return routes.is_only(flow.kind.family, egress.interface)
