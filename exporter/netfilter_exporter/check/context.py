"""What the checks see: the facts of one run of the collectors, asked in the alerts' words."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from netfilter_exporter.check.flow_watch import NewFlows
from netfilter_exporter.check.namespace_watch import Watched
from netfilter_exporter.check.proof import Observed, Proof, prove
from netfilter_exporter.check.services import Manager, managers
from netfilter_exporter.collection import Outcome, Run
from netfilter_exporter.config.model import Config, Role
from netfilter_exporter.facts.capabilities import (
    capabilities,
    capabilities_needed,
    capability_obstacles,
)
from netfilter_exporter.facts.conntrack import statistics_total
from netfilter_exporter.facts.engines import stateless_nat
from netfilter_exporter.facts.forwarding import forwards, ipvs_nat
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.roles import forwarded_rules
from netfilter_exporter.facts.rulesets import Readable, rulesets
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.facts.tracking import is_only_implied, tracks
from netfilter_exporter.kernel.errors import NoData, ReadError, or_none
from netfilter_exporter.kernel.modules.capabilities import OF_RULES, Obstacle
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.model import Action

#: How a person calls them.
FAMILY = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}

#: What is said of an alert that nothing else can decide.
NEEDS_HISTORY = "Not checked here: requires history; evaluated by the Prometheus alert"

#: What is said of an alert that the configured role would decide.
NEEDS_ROLE = {
    Family.IPV4: "Requires a configured role: set nat: required or nat: none",
    Family.IPV6: "Requires a configured role: set nat: {ipv6: required} or nat: {ipv6: none}",
}


class Counters(NamedTuple):
    """The statistics of connection tracking, summed over the CPUs, and when they were read."""

    at: float
    totals: Mapping[str, int]


def counters(snapshot: Snapshot) -> Counters | None:
    """Read the counters of a snapshot; None where they cannot be."""
    totals = or_none(lambda: statistics_total(snapshot))
    return None if totals is None else Counters(snapshot.system.clock(), totals)


class Context:
    """One look at the host; what cannot be read raises `ReadError`, as in a snapshot."""

    def __init__(
        self,
        run: Run,
        before: Counters | None = None,
        flows: NewFlows | ReadError | None = None,
        namespaces: Watched | None = None,
    ) -> None:
        """`before` are the counters of an earlier check, without which there are no rates.

        `flows` are the connections that are new since then, or why they are unknown. `namespaces`
        are other network namespaces, None where nobody wants to know.
        """
        self.snapshot = run.snapshot
        self.outcomes: Mapping[str, Outcome] = run.outcomes
        self.config: Config = run.snapshot.host.config
        self._before = before
        self.flows = flows
        self.namespaces = namespaces
        self.observed: Observed = flows.observed() if isinstance(flows, NewFlows) else {}

    # -- the role --------------------------------------------------------------------------

    def required(self, family: Family) -> bool:
        """Return whether the configuration says that this host must NAT."""
        return self.config.nat.role(family) is Role.REQUIRED

    @functools.cached_property
    def doing_nat(self) -> tuple[Family, ...]:
        """The families in which this host translates, or has to; none that it must not."""
        return tuple(
            family
            for family in Family
            if self.rules(family) or self.required(family) or self.ruleless(family)
            if not self.unwanted(family)
        )

    @functools.cached_property
    def judged(self) -> tuple[Family, ...]:
        """Those of which connection tracking shows whether new connections are translated."""
        return tuple(family for family in self.doing_nat if not self.only_ruleless(family))

    @functools.cached_property
    def ipvs(self) -> frozenset[Family]:
        """The families that IPVS translates, without a rule and without connection tracking."""
        try:
            return ipvs_nat(self.snapshot)
        except ReadError:
            return frozenset()

    @functools.cached_property
    def stateless(self) -> frozenset[Family]:
        """The families in which rules write addresses into packets, unseen by conntrack."""
        return stateless_nat(self.snapshot)

    def needs_rules(self, family: Family) -> bool:
        """Return whether the configuration requires NAT, and nothing but rules can do it."""
        return self.required(family) and not self.ruleless(family)

    def ruleless(self, family: Family) -> bool:
        """Return whether something translates without conntrack and its rules."""
        return family in self.ipvs or family in self.stateless

    def only_ruleless(self, family: Family) -> bool:
        """Return whether nothing else translates, of which conntrack shows nothing."""
        return self.ruleless(family) and not self.rules(family)

    def unwanted(self, family: Family) -> bool:
        """Return whether the configuration says that this host must not NAT."""
        return self.config.nat.role(family) is Role.NONE

    def undecided(self, family: Family) -> bool:
        """Return whether the configuration leaves it to history."""
        return self.config.nat.role(family) is Role.AUTO

    # -- rules -----------------------------------------------------------------------------

    @functools.cached_property
    def rulesets(self) -> tuple[Readable, ...]:
        """The rulesets that were read."""
        return tuple(
            Readable(r.backend, r.families, r.facts)
            for r in rulesets(self.snapshot)
            if r.facts is not None
        )

    def unread(self, family: Family) -> ReadError | None:
        """Return why a ruleset that may hold rules of `family` could not be read."""
        errors = [r.error for r in rulesets(self.snapshot) if family in r.families and r.error]
        return max(errors, key=lambda error: error.status.rank, default=None)

    def rules(self, family: Family, backend: Backend | None = None) -> int:
        """Return how many translating rules were read."""
        return sum(self.actions(family, backend).values())

    def actions(self, family: Family, backend: Backend | None = None) -> Counter[Action]:
        """Return the translating rules that were read, by what they do."""
        found: Counter[Action] = Counter()
        for ruleset in self.rulesets:
            if family in ruleset.families and backend in {None, ruleset.backend}:
                for action in Action:
                    found[action] += ruleset.facts.rules[family, action]
        return +found

    def forwarded_rules(self, family: Family) -> int:
        """Return how many of them are for forwarded traffic."""
        return forwarded_rules(self.snapshot)[family]

    def forwards(self, family: Family) -> bool:
        """Return whether an interface other than lo forwards."""
        return forwards(self.snapshot, family)

    def forward_drops(self, family: Family) -> bool:
        """Return whether a forward chain has the policy drop."""
        return any(family in ruleset.facts.forward_drops for ruleset in self.rulesets)

    @functools.cached_property
    def proof(self) -> Proof:
        """How much is proven of NAT on this host."""
        return prove(self.observed, sum(self.rules(family) for family in Family))

    # -- tracking --------------------------------------------------------------------------

    def tracked(self, family: Family) -> bool | None:
        """Return whether packets are proven to be tracked, or not to be; None: neither."""
        try:
            return tracks(self.snapshot, family)
        except ReadError:
            return None

    def implied(self, family: Family) -> bool:
        """Return whether nothing but rules shows that packets are tracked."""
        return is_only_implied(self.snapshot, family)

    def unproven(self, family: Family) -> ReadError | None:
        """Return why neither can be proven."""
        try:
            tracks(self.snapshot, family)
        except ReadError as error:
            return error
        return None

    # -- capabilities ----------------------------------------------------------------------

    @functools.cached_property
    def lacking(self) -> tuple[str, ...]:
        """The capabilities that are needed, and neither there nor proven to be loadable."""
        needed = capabilities_needed(self.snapshot)
        possible = capabilities(self.snapshot)
        return tuple(n for n, need in needed.items() if need and possible.get(n) is not True)

    @functools.cached_property
    def hindered(self) -> tuple[str, ...]:
        """The capabilities whose lack keeps NAT rules from being loaded.

        Those that are needed and impossible. Where the rules of a host that must NAT are gone, it
        is unknown which they were: capabilities with a damaged or blocked module count too.
        """
        found = capability_obstacles(self.snapshot)
        lost = any(self.needs_rules(family) and not self.rules(family) for family in Family)
        return tuple(
            name
            for name in OF_RULES
            if name in found
            and (name in self.lacking or (lost and any(map(self._is_damaged, found[name]))))
        )

    def _is_damaged(self, obstacle: Obstacle) -> bool:
        """Return whether a module is blocked, unsigned or without its file."""
        module = kernel_modules(self.snapshot).known.get(obstacle.module)
        return module is None or bool(module.causes)

    @functools.cached_property
    def obstacles(self) -> Mapping[str, str]:
        """The modules that those lack, and why the kernel cannot load each."""
        found = capability_obstacles(self.snapshot)
        return {module: reason for name in self.hindered for module, reason in found[name]}

    # -- rates -----------------------------------------------------------------------------

    @functools.cached_property
    def now(self) -> Counters | None:
        """The counters of this check."""
        return counters(self.snapshot)

    @property
    def seconds(self) -> float | None:
        """The time between the two looks; None where there is no earlier one."""
        if self._before is None or self.now is None or self.now.at <= self._before.at:
            return None
        return self.now.at - self._before.at

    def increase(self, name: str) -> int:
        """Return by how much a counter grew between the two looks; NoData where it is not."""
        if self._before is None or self.now is None or name not in self.now.totals:
            raise NoData(f"no counter {name}")
        return max(self.now.totals[name] - self._before.totals.get(name, 0), 0)

    # -- the machine -----------------------------------------------------------------------

    @functools.cached_property
    def managers(self) -> tuple[Manager, ...]:
        """Who writes the rules of this host."""
        paths = self.snapshot.paths
        return managers(paths, self.snapshot.system.processes(paths.procfs))
