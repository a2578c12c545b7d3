"""Facts about NAT hits: what the sampler has counted of the rules."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence

from netfilter_exporter.config.model import Config, ExpectedRule
from netfilter_exporter.facts.expected import fits
from netfilter_exporter.facts.modules import forced_since_start
from netfilter_exporter.facts.rulesets import legacy_readers, nftables_reader, rulesets
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept, source
from netfilter_exporter.hits import legacy
from netfilter_exporter.hits.account import Changed, Fits, Readings
from netfilter_exporter.hits.nftables import NftablesCounters
from netfilter_exporter.hits.sampler import HitSampler, RulesetHits, Source
from netfilter_exporter.kernel.errors import Inconclusive, NoData, ReadError, raise_worst
from netfilter_exporter.kernel.modules.model import ModuleState
from netfilter_exporter.kernel.modules.reader import ModuleReader, read_forced_unload
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER
from netfilter_exporter.kernel.rulesets import LegacyReader, NftablesReader, life
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.rules.counted import MOST_RULES, OF_CHAIN, CountedRule, CountedRules
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.reachability import Translation

#: Seconds for the netlink requests of one look.
_DEADLINE = 2.0


@kept
def hit_sampler(host: Host) -> HitSampler:
    """Return the sampler of this process; it takes looks from `start` on."""
    gate = _Gate(host)
    of_nftables = _NftablesSource(host, gate, nftables_reader(host)).read
    sampler = HitSampler(
        [
            Source(Backend.NFTABLES, of_nftables),
            *(
                Source(
                    Backend.LEGACY,
                    functools.partial(_read_legacy, host, gate, family, reader),
                )
                for family, reader in legacy_readers(host).items()
            ),
        ]
    )
    sampler.name(named(host.config))
    return sampler


def named(config: Config) -> Mapping[str, Fits]:
    """Return what recognises each rule that the configuration names."""
    return {rule.name: _NamedRule(rule) for rule in config.expect.rules}


class _NamedRule:
    """Recognises a rule; equal to another that recognises the same."""

    def __init__(self, rule: ExpectedRule) -> None:
        self._rule = rule

    def __call__(self, found: CountedRule) -> bool:
        kind = Translation(
            found.families, found.action, found.place.table, found.interfaces, extension=False
        )
        return fits(self._rule, kind, {found.place.chain})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _NamedRule) and self._rule == other._rule

    __hash__ = None  # type: ignore[assignment]


@fact
def nat_hits(snapshot: Snapshot) -> Sequence[RulesetHits]:
    """The hits of each ruleset; NoData where none are counted."""
    rulesets(snapshot)  # what has changed is read first
    return hit_sampler(snapshot.host).current()


@source(35)
def nat_counters(snapshot: Snapshot) -> None:
    """Whether the counters of all NAT rules that have one are read; NoData where none has."""
    found = nat_hits(snapshot)
    if any(each.hits for each in found):
        raise_worst([e.error for e in found if e.error and not isinstance(e.error, NoData)])
    else:
        raise_worst([each.error for each in found if each.error])


class _Gate:
    """Lets through what loads nothing, while no rule may use a module that is gone."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._paths = host.system.paths
        self._modules = ModuleReader(self._paths)
        self._is_builtin = False

    def refuse_forced(self) -> None:
        """Raise where a module was removed by force: a rule may still point into it."""
        if forced_since_start(self._host, forced=read_forced_unload(self._paths)):
            raise ReadError("counters: not read: a module was removed by force; reboot")

    def require_nf_tables(self, of_life: int) -> None:
        """Raise where nf_tables is not the one whose rules were read, or asking may load it."""
        self.refuse_forced()
        if life(self._paths) != of_life:
            raise Changed("nftables counters: nf_tables was unloaded")
        if of_life or self._is_builtin:  # it is the very module that answered
            return
        modules = self._modules.read()
        modules.require("nf_tables")
        self._is_builtin = modules.known["nf_tables"].state is ModuleState.BUILTIN


class _NftablesSource:
    def __init__(self, host: Host, gate: _Gate, reader: NftablesReader) -> None:
        self._system = host.system
        self._gate = gate
        self._reader = reader
        self._counters = NftablesCounters()
        self._life = 0  #: of nf_tables, see `life`

    def read(self) -> Readings:
        last, of_life = self._reader.last, self._reader.life
        if last is None:
            raise NoData("nftables: the rules were not read yet")
        _require_counted("nftables", last.facts.counted)
        self._gate.require_nf_tables(of_life)
        if of_life != self._life:
            self._life, self._counters = of_life, NftablesCounters()
        with contextlib.closing(self._system.connect(NETLINK_NETFILTER, _DEADLINE)) as connection:
            return self._counters.read(connection, last)


def _read_legacy(host: Host, gate: _Gate, family: Family, reader: LegacyReader) -> Readings:
    last = reader.last
    if last is None:
        raise NoData("legacy counters: the rules were not read yet")
    _require_counted(f"legacy {family.value}", last.facts.counted)
    if last.counters is None:
        raise Inconclusive("legacy counters: the table is larger than 64 KiB")
    gate.refuse_forced()
    with contextlib.closing(host.system.xtables(family)) as connection:
        if "nat" not in xtables.read_names(host.system.paths, family):
            raise Changed("legacy counters: the table was removed")
        return legacy.read(connection, last.counters, last.facts.counted.rules)


def _require_counted(what: str, counted: CountedRules) -> None:
    """Raise where there is nothing to read, or too much."""
    if counted.too_many:
        raise Inconclusive(
            f"{what}: counters are not read, to save CPU: more than {MOST_RULES} rules, each chain "
            f"with {OF_CHAIN} more"
        )
    if not counted.rules:
        raise NoData(f"{what}: no NAT rule has a counter")
