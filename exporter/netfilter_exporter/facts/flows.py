"""Facts about flows: what the sampler has seen of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from netfilter_exporter.config.flows import Flows
from netfilter_exporter.facts.networks import interface_networks
from netfilter_exporter.facts.rulesets import legacy_readers, nftables_reader
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.flows.look import Looker
from netfilter_exporter.flows.observer import Sample, Settings
from netfilter_exporter.flows.ports import PortsInUse, PortWatch
from netfilter_exporter.flows.sampler import FlowSampler
from netfilter_exporter.flows.scope import Routes
from netfilter_exporter.kernel import bridges, route
from netfilter_exporter.kernel.conntrack.flow import Source, Towards
from netfilter_exporter.kernel.conntrack.port_count import (
    Range,
    count_listed_ports,
    count_ports,
)
from netfilter_exporter.kernel.modules.reader import ModuleReader
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, NETLINK_ROUTE
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules import source_ports
from netfilter_exporter.rules.families import Family

#: Seconds for the netlink requests of one look.
_DEADLINE = 2.0


@kept
def flow_sampler(host: Host) -> FlowSampler:
    """Return the sampler of this process; it takes looks from `start` on."""
    return make_sampler(host.system, settings(host.config.flows), make_port_watch(host))


def make_port_watch(host: Host) -> PortWatch:
    """Return what finds the ports in use, by the rules that were read last."""
    nftables, legacy = nftables_reader(host), legacy_readers(host)
    gate = _Gate(host.system)

    def ports_of(source: Source) -> Range | None:
        last = (nftables.last, legacy[source.family].last)
        facts = [each.facts.in_full for each in last if each]
        address = int.from_bytes(source.address, "big")
        return source_ports.ports_of(facts, source.family, source.protocol, address)

    def count(towards: Towards, ports: Range) -> int:
        return count_ports(gate.ctnetlink(), towards, ports)

    return PortWatch(ports_of, count, functools.partial(count_listed_ports, host.system.paths))


def ports_in_use(host: Host) -> list[PortsInUse]:
    """Return the ports in use now; raises `ReadError`."""
    look = make_looker(host.system).look(settings(host.config.flows).sample_size)
    return make_port_watch(host).take(look, host.system.clock())


def make_sampler(system: System, chosen: Settings, ports: PortWatch | None = None) -> FlowSampler:
    """Return a sampler that has taken no look yet."""
    return FlowSampler(make_looker(system), functools.partial(open_routes, system), chosen, ports)


def make_looker(system: System) -> Looker:
    """Return what reads the flow table where reading loads nothing."""
    # A separate reader: the collectors use theirs in another thread.
    return Looker(system.paths, _Gate(system).ctnetlink)


def settings(config: Flows, flags: Flows = Flows()) -> Settings:  # noqa: B008 - frozen
    """Return the settings of a configuration and flags; flags win."""
    default = Settings()
    return Settings(
        interval=float(flags.interval or config.interval or default.interval),
        sample_size=flags.sample_size or config.sample_size or default.sample_size,
        cpu_share=config.cpu_permille / 1000 if config.cpu_permille else default.cpu_share,
        networks=config.networks,
    )


@fact
def flow_sample(snapshot: Snapshot) -> Sample:
    """What the last look at the flow table found; NoData where none is taken."""
    return flow_sampler(snapshot.host).current()


class _Gate:
    """Opens ctnetlink where asking loads nothing."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._modules = ModuleReader(system.paths)

    def ctnetlink(self) -> Connection:
        """Return a connection; raises `ReadError` where asking may load a module."""
        self._modules.read().require("nf_conntrack_netlink")
        return self._system.connect(NETLINK_NETFILTER, _DEADLINE)


@contextlib.contextmanager
def open_routes(system: System) -> Iterator[Routes]:
    """Answer for routes; the socket is opened for the first question."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def connection() -> Connection:
            opened = system.connect(NETLINK_ROUTE, _DEADLINE)
            stack.callback(opened.close)
            return opened

        @functools.cache
        def is_only(family: Family, interface: int) -> bool:
            return _is_only(system, connection(), family, interface)

        yield Routes(lambda address: route.ask(connection(), address), is_only)


def _is_only(system: System, connection: Connection, family: Family, interface: int) -> bool:
    """Return whether all networks that this host is in are at one interface, not a bridge.

    A second interface in the same network changes nothing. What virtual machines send through a
    bridge to its uplink is tracked here with br_netfilter, and is not routed.
    """
    networks = interface_networks(connection, family)
    here = [each for each in networks if each.interface == interface]
    if not all(any(own.overlaps(each) for own in here) for each in networks):
        return False
    names = (name for name, index in system.interfaces().items() if index == interface)
    return not any(bridges.is_bridge(system.paths, name) for name in names)
