"""One look at the host: facts that are read on first use and at most once.

`Host` lives as long as the process and keeps what makes the next look cheap. `Snapshot` is made
for one scrape, so that all collectors, and the checks, see the same facts.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import Any, Callable, Generic, NamedTuple, TypeVar

from netfilter_exporter.config.model import Config, Role
from netfilter_exporter.config.reload_status import ReloadStatus
from netfilter_exporter.kernel import files, forwarding, namespace, snmp
from netfilter_exporter.kernel.conntrack import ctnetlink, hooks, probe
from netfilter_exporter.kernel.conntrack import statistics as conntrack
from netfilter_exporter.kernel.conntrack.counters import CounterMemory
from netfilter_exporter.kernel.errors import (
    Inconclusive,
    NoData,
    ReadError,
    Status,
    TimedOut,
    Unsupported,
    defect,
)
from netfilter_exporter.kernel.modules import capabilities, needs
from netfilter_exporter.kernel.modules.model import Modules
from netfilter_exporter.kernel.modules.reader import ModuleReader
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, NETLINK_ROUTE
from netfilter_exporter.kernel.rulesets import NO_RULES, LegacyReader, Nftables, NftablesReader
from netfilter_exporter.kernel.sysctl import values as sysctl
from netfilter_exporter.kernel.sysctl.sysctl_d import SysctlD
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.reachability import RulesetFacts

T = TypeVar("T")

#: Facts that fail apart and have a status of their own on the page.
SOURCES = (
    "nftables",
    "legacy_ipv4",
    "legacy_ipv6",
    "probe_ipv4",
    "probe_ipv6",
    "hooks",
    "statistics",
)


class fact(Generic[T]):  # noqa: N801 - it is used like property
    """A property of a `Snapshot` that remembers its value, or the `ReadError` it met."""

    def __init__(self, read: Callable[[Snapshot], T]) -> None:
        self._read = read
        self._name = read.__name__
        self.__doc__ = read.__doc__

    def __get__(self, snapshot: Snapshot, owner: type[Snapshot] | None = None) -> T:
        # Called only until it is read: then the value hides this, as an attribute like any other.
        errors = snapshot.errors
        if self._name not in errors:
            # Whoever asks while it is being read asks behind a reader that hangs.
            errors[self._name] = TimedOut(f"{self._name}: still being read")
            try:
                value = snapshot.__dict__[self._name] = self._read(snapshot)
            except ReadError as error:
                errors[self._name] = error
            except Exception as error:  # a defect of ours must not take the page down
                errors[self._name] = defect(self._name, error)
            else:
                del errors[self._name]
                return value
        raise errors[self._name].with_traceback(None)


class Ruleset(NamedTuple):
    """One ruleset of the host; `facts` is None where it could not be read, and `error` says why."""

    backend: Backend
    families: tuple[Family, ...]
    facts: RulesetFacts | None
    error: ReadError | None = None


def _ruleset(
    backend: Backend, families: tuple[Family, ...], read: Callable[[], RulesetFacts]
) -> Ruleset:
    try:
        return Ruleset(backend, families, read())
    except NoData:  # known to be empty
        return Ruleset(backend, families, NO_RULES)
    except ReadError as error:
        return Ruleset(backend, families, None, error)


class Host:
    """The host, and what is remembered of it from one look to the next."""

    def __init__(
        self,
        system: System,
        config: Config = Config(),  # noqa: B008 - frozen
        reload_status: ReloadStatus | None = None,
    ) -> None:
        """`reload_status` tells how configurations were read, where they are read again."""
        self.system = system
        self.config = config
        self.reload_status = reload_status
        self.conntrack_counters = CounterMemory()
        #: Whether a module had been removed by force before we first looked: that was survived.
        self.forced_before: bool | None = None
        self.nftables = NftablesReader()
        self.legacy = {family: LegacyReader(family) for family in Family}
        self.sysctl_d = SysctlD(system.paths)
        self.numbers = files.CachedIntReader()
        self.modules = _module_reader(self)
        #: By metric name: the facts that samples were made of, and the samples.
        self.samples: dict[str, tuple[list[object], tuple[Any, ...]]] = {}

    def configured(self, config: Config) -> Host:
        """Return the same host, with all that is remembered of it, under another configuration."""
        host = copy.copy(self)
        host.config = config
        host.modules = _module_reader(host)
        host.samples = {}
        return host

    def snapshot(self, timeout: float) -> Snapshot:
        """Return a fresh look, whose netlink requests together take at most `timeout` seconds."""
        return Snapshot(self, self.system.clock() + timeout)


def _module_reader(host: Host) -> ModuleReader:
    extra = (*host.config.modules.watch, *host.config.expect.modules)
    return ModuleReader(host.system.paths, extra, host.numbers.read)


class Snapshot:
    """The facts of one scrape; `deadline` is on the system's clock."""

    def __init__(self, host: Host, deadline: float) -> None:
        self.host = host
        self.system = host.system
        self.paths = host.system.paths
        self.deadline = deadline
        self.errors: dict[str, ReadError] = {}  #: of the facts that could not be read
        #: By thread and protocol: a thread that was left behind in a dump still receives.
        self._connections: dict[tuple[int, int], Connection] = {}

    def connection(self, protocol: int) -> Connection:
        """Return this thread's netlink connection in this scrape, opened on first use.

        Opening NETLINK_NETFILTER reload_status nfnetlink where that is a module: pass a gate first.
        """
        key = threading.get_ident(), protocol
        if key not in self._connections:
            transport = self.system.netlink(protocol)
            self._connections[key] = Connection(transport, self.deadline, self.system.clock)
        return self._connections[key]

    def netfilter(self, module: str) -> Connection:
        """Return the netfilter connection if asking `module` loads nothing, else raise."""
        if self.modules.usable(module) is False:
            if self.modules.loading:
                raise NoData(f"{module} is not loaded")
            raise Unsupported(f"{module} is not in this kernel")
        if self.modules.may_ask(module):
            return self.connection(NETLINK_NETFILTER)
        raise Inconclusive(f"{module}: cannot tell whether it is loaded; asking might load it")

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def source_status(self) -> dict[str, Status]:
        """Return the status of each of SOURCES that was asked for."""
        errors, read = self.errors, self.__dict__
        return {
            name: errors[name].status if name in errors else Status.OK
            for name in SOURCES
            if name in errors or name in read
        }

    @fact
    def host_network_namespace(self) -> bool:
        """Whether this is the network namespace that the machine booted with."""
        return namespace.read_host_network_namespace(self.paths)

    # -- connection tracking ---------------------------------------------------------------

    def _conntrack(self, name: str) -> int:
        return self.host.numbers.read(self.paths.proc(conntrack.SYSCTL + name))

    @fact
    def conntrack_entries(self) -> int:
        """Entries of this namespace; NoData where nf_conntrack is not in this boot."""
        return self._conntrack("count")

    @fact
    def conntrack_present(self) -> bool:
        """Whether the core is in this boot: the best single test, on all kernels."""
        return files.exists(self.paths.proc(conntrack.SYSCTL + "count"))

    @fact
    def conntrack_limit(self) -> int:
        """nf_conntrack_max: one for all namespaces, compared with the entries of each."""
        return self._conntrack("max")

    @fact
    def conntrack_buckets(self) -> int:
        """The size of the hash table, which all namespaces share."""
        return self._conntrack("buckets")

    @fact
    def conntrack_expectations_limit(self) -> int:
        """nf_conntrack_expect_max."""
        return self._conntrack("expect_max")

    @fact
    def statistics(self) -> conntrack.Statistics:
        """Counters of each CPU, with wraps absorbed."""
        if not self.conntrack_present:
            self.host.conntrack_counters.forget()
            raise NoData("nf_conntrack is not in this boot")
        try:
            raw = conntrack.read_statistics(self.paths)
        except NoData:  # built without CONFIG_NF_CONNTRACK_PROCFS
            raw = ctnetlink.read_statistics(self.netfilter("nf_conntrack_netlink"))
        return self.host.conntrack_counters.absorb(raw)

    @fact
    def statistics_total(self) -> Mapping[str, int]:
        """The counters of all CPUs together."""
        total: dict[str, int] = {}
        for cpu in self.statistics:
            for name, number in cpu.items():
                total[name] = total.get(name, 0) + number
        return total

    # -- tracking --------------------------------------------------------------------------

    @fact
    def hooks(self) -> Mapping[Family, bool]:
        """Whether received packets are tracked, by family, where hooks can be listed."""
        connection = self.netfilter("nfnetlink_hook")
        return {family: hooks.tracks(connection, family) for family in Family}

    @fact
    def probe_ipv4(self) -> bool:
        """Whether an IPv4 datagram on loopback is tracked."""
        return self._probe(Family.IPV4)

    @fact
    def probe_ipv6(self) -> bool:
        """Whether an IPv6 datagram on loopback is tracked."""
        return self._probe(Family.IPV6)

    def tracking(self, family: Family) -> bool:
        """Tell whether packets of `family` are tracked; raises `ReadError` where it is not proven.

        Nothing is sent where there is nothing to find, nor where the hooks can be listed. Where
        they cannot, or it cannot be told whether asking for them loads a module, a datagram is.
        """
        if not self.conntrack_present or self.exempts_all(family):
            return False
        try:
            return self.hooks[family]
        except (Inconclusive, NoData, Unsupported):
            return self.probe_ipv4 if family is Family.IPV4 else self.probe_ipv6

    def exempts_all(self, family: Family) -> bool:
        """Tell whether a notrack rule without a match exempts all that is received."""
        return any(source.facts and family in source.facts.untracked for source in self.rulesets)

    def _probe(self, family: Family) -> bool:
        limit = self.conntrack_limit
        if limit and self.conntrack_entries >= probe.FULL * limit:
            raise Inconclusive("the table is too full to add the entry of a probe")
        connection = self.netfilter("nf_conntrack_netlink")
        pair = self.system.loopback(family)
        try:
            return probe.tracks(connection, pair, family, blind=self._untracks_loopback(family))
        finally:
            pair.close()

    def _untracks_loopback(self, family: Family) -> bool:
        """Tell whether a notrack or zone rule may touch loopback; unread rules may do anything."""
        sources = [source for source in self.rulesets if family in source.families]
        return any(
            source.facts is None or family in source.facts.loopback_untracked for source in sources
        )

    # -- rulesets --------------------------------------------------------------------------

    @fact
    def nftables(self) -> Nftables:
        """The nftables ruleset; NoData where nf_tables is not there, and so no rule of it."""
        if self.modules.usable("nf_tables") is False:
            self.host.nftables.forget()
            raise NoData("nf_tables is not loaded")
        connection = self.netfilter("nf_tables")
        life = files.inode(self.paths.sys("module/nf_tables"))
        return self.host.nftables.read(connection, life, forced=self._forced_unload)

    @fact
    def legacy_ipv4(self) -> RulesetFacts:
        """The tables of iptables-legacy."""
        return self.host.legacy[Family.IPV4].read(self.system, forced=self._forced_unload)

    @fact
    def legacy_ipv6(self) -> RulesetFacts:
        """The tables of ip6tables-legacy."""
        return self.host.legacy[Family.IPV6].read(self.system, forced=self._forced_unload)

    @property
    def _forced_unload(self) -> bool:
        """Whether a module was removed by force since we first looked."""
        try:
            forced = self.modules.forced_unload
        except ReadError:
            return False
        if self.host.forced_before is None:
            self.host.forced_before = forced
        return forced and not self.host.forced_before

    @fact
    def rulesets(self) -> tuple[Ruleset, ...]:
        """Every ruleset there can be, read or not."""
        return (
            _ruleset(Backend.NFTABLES, tuple(Family), lambda: self.nftables.facts),
            _ruleset(Backend.LEGACY, (Family.IPV4,), lambda: self.legacy_ipv4),
            _ruleset(Backend.LEGACY, (Family.IPV6,), lambda: self.legacy_ipv6),
        )

    @fact
    def capabilities_needed(self) -> Mapping[str, bool | None]:
        """Whether a rule that is there, or the configured role, needs each capability."""
        rulesets = [(ruleset.backend, ruleset.facts) for ruleset in self.rulesets]
        roles = self.host.config.nat
        return needs.needed(rulesets, [f for f in Family if roles.role(f) is Role.REQUIRED])

    # -- forwarding ------------------------------------------------------------------------

    @fact
    def interfaces(self) -> Mapping[str, int]:
        """The index of each interface of this namespace, by name."""
        return self.system.interfaces()

    @fact
    def ipv4_counters(self) -> Mapping[str, int]:
        """The IPv4 counters of /proc/net/snmp and /proc/net/netstat, by our names."""
        return snmp.read_ipv4(self.paths)

    @fact
    def ipv6_counters(self) -> Mapping[str, int]:
        """The IPv6 counters of /proc/net/snmp6, by our names; none without IPv6."""
        try:
            return snmp.read_ipv6(self.paths)
        except NoData:
            return {}

    @fact
    def ipv4_forwarding(self) -> Mapping[str, bool]:
        """Whether each interface but lo forwards the IPv4 packets that it receives."""
        found = forwarding.read_interfaces(self.connection(NETLINK_ROUTE), Family.IPV4)
        return {
            name: found[index]
            for name, index in self.interfaces.items()
            if index in found and name != "lo"
        }

    # -- modules ---------------------------------------------------------------------------

    @fact
    def modules(self) -> Modules:
        """The kernel modules of conntrack and NAT; its `may_ask` is the gate of every question."""
        return self.host.modules.read()

    @fact
    def capabilities(self) -> Mapping[str, bool | None]:
        """Whether each capability is usable now or loadable on demand; None: cannot tell."""
        return capabilities.evaluate(self.modules)

    @fact
    def capabilities_blocked(self) -> Mapping[str, bool]:
        """Whether modprobe.d or the kernel command line stops a module of each capability."""
        return capabilities.blocked(self.modules, self.capabilities)

    # -- sysctls ---------------------------------------------------------------------------

    @fact
    def sysctls(self) -> sysctl.Reading:
        """Values of connection tracking's and forwarding's sysctls."""
        return sysctl.read_sysctls(self.paths, self.host.numbers.read)

    @fact
    def sysctl_comparisons(self) -> sysctl.Comparisons:
        """What sysctl.d and the configuration ask for, and whether it holds."""
        options = self.host.sysctl_d.read()
        values = self.sysctls.values
        desired = (*sysctl.from_sysctl_d(options, values), *self.host.config.sysctls)
        found = sysctl.compare(self.paths, desired, values, self._is_needed)
        return found._replace(errors=(*options.errors, *found.errors))

    def _is_needed(self, capability: str) -> bool:
        """Tell whether `capability` is known to be needed; where the rules are unreadable, not."""
        return self.capabilities_needed.get(capability) is True
