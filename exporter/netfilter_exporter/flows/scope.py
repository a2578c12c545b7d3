"""Which flows are outbound: the scope in which translation and answers are judged.

A flow is outbound if its source is private, is not an address of this host and is reached through
an interface that is not the egress, and if its destination is global. What fails any of these is
not judged: a spoofed source is usually reached through the egress, or not at all.
"""

from __future__ import annotations

import enum
from typing import Callable

from netfilter_exporter.flows.networks import PRIVATE, SPECIAL, Networks, Prefixes
from netfilter_exporter.kernel.conntrack.flow import Flow
from netfilter_exporter.kernel.route import Route


class Scope(enum.Enum):
    """Where a flow goes; the value is the `scope` label."""

    OUTBOUND = "outbound"
    PRIVATE = "private"  #: from a private network to another: judged only where configured
    OTHER = "other"

    __hash__ = object.__hash__  # as of Family


#: Returns the route to a packed address, None where there is none for unicast.
AskRoute = Callable[[bytes], "Route | None"]


class Classifier:
    """Finds the scope of flows, for one configuration."""

    def __init__(self, networks: Networks = Networks()) -> None:  # noqa: B008 - immutable
        self._private = Prefixes(networks.private)
        self._global = Prefixes(networks.global_)
        self._from, self._to = Prefixes(networks.outbound_from), Prefixes(networks.outbound_to)

    def scope(self, flow: Flow, ask: AskRoute) -> Scope:
        """Return the scope of a flow; routes are looked up only where addresses leave it open."""
        wanted = self._by_addresses(flow)
        if wanted is not Scope.OTHER and _is_forwarded(flow, ask):
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
        return address in self._private or (address in _PRIVATE and address not in self._global)

    def is_global(self, address: bytes) -> bool:
        """Return whether an address is reachable on the internet."""
        special = address in _PRIVATE or address in _SPECIAL
        return address in self._global or not (special or address in self._private)


_PRIVATE, _SPECIAL = Prefixes(PRIVATE), Prefixes(SPECIAL)


def _is_forwarded(flow: Flow, ask: AskRoute) -> bool:
    """Return whether a flow comes from behind this host and leaves through another interface."""
    back = ask(flow.source)
    if back is None or back.local:
        return False
    egress = ask(flow.destination)
    return egress is not None and not egress.local and egress.interface != back.interface
