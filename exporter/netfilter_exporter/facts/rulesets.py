"""Facts about the rules of this host, in both backends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, NamedTuple

from netfilter_exporter.facts.modules import forced_unload, kernel_modules, netfilter
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept, source
from netfilter_exporter.kernel.errors import NoData, ReadError, bare, raise_worst
from netfilter_exporter.kernel.rulesets import (
    NO_RULES,
    LegacyReader,
    Nftables,
    NftablesReader,
    life,
)
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.reachability import RulesetFacts


@kept
def nftables_reader(_: Host) -> NftablesReader:
    """Return what reads nftables; a process that reads more than once lets it listen."""
    return NftablesReader()


@kept
def legacy_readers(_: Host) -> dict[Family, LegacyReader]:
    return {family: LegacyReader(family) for family in Family}


@source(10)
def nftables(snapshot: Snapshot) -> Nftables:
    """The nftables ruleset; NoData where nf_tables is absent, and so every rule of it."""
    reader = nftables_reader(snapshot.host)
    if kernel_modules(snapshot).usable("nf_tables") is False:
        reader.forget()
        raise NoData("nf_tables is not loaded")
    connection = netfilter(snapshot, "nf_tables")
    return reader.read(
        snapshot.system,
        connection,
        _life(snapshot),
        snapshot.patience,
        forced=forced_unload(snapshot),
    )


@fact
def _life(snapshot: Snapshot) -> int:
    """Distinguishes one life of nf_tables from the next, whose generations begin at 1 again."""
    return life(snapshot.paths)


def generation(snapshot: Snapshot) -> tuple[int, int]:
    """Return what is another wherever nftables' rules, sets or objects are: raises as they do."""
    return _life(snapshot), nftables(snapshot).generation


@source(20)
def legacy_ipv4(snapshot: Snapshot) -> RulesetFacts:
    """The tables of iptables-legacy."""
    return _legacy(snapshot, Family.IPV4)


@source(30)
def legacy_ipv6(snapshot: Snapshot) -> RulesetFacts:
    """The tables of ip6tables-legacy."""
    return _legacy(snapshot, Family.IPV6)


def _legacy(snapshot: Snapshot, family: Family) -> RulesetFacts:
    reader = legacy_readers(snapshot.host)[family]
    return reader.read(snapshot.system, snapshot.patience, forced=forced_unload(snapshot))


class Ruleset(NamedTuple):
    """One ruleset of the host; `facts` is None where it could not be read, and `error` says why."""

    backend: Backend
    families: tuple[Family, ...]
    facts: RulesetFacts | None
    error: ReadError | None = None


@fact
def rulesets(snapshot: Snapshot) -> tuple[Ruleset, ...]:
    """Every ruleset there can be, read or not."""
    return (
        _ruleset(Backend.NFTABLES, tuple(Family), lambda: nftables(snapshot).facts),
        _ruleset(Backend.LEGACY, (Family.IPV4,), lambda: legacy_ipv4(snapshot)),
        _ruleset(Backend.LEGACY, (Family.IPV6,), lambda: legacy_ipv6(snapshot)),
    )


def _ruleset(
    backend: Backend, families: tuple[Family, ...], read: Callable[[], RulesetFacts]
) -> Ruleset:
    try:
        return Ruleset(backend, families, read())
    except NoData:  # known to be empty
        return Ruleset(backend, families, NO_RULES)
    except ReadError as error:
        return Ruleset(backend, families, None, bare(error))


class Readable(NamedTuple):
    """A ruleset that was read."""

    backend: Backend
    families: tuple[Family, ...]
    facts: RulesetFacts


def readable(snapshot: Snapshot) -> Iterator[Readable]:
    """Yield each ruleset that can be read; raise the worst error of the others at the end."""
    errors: list[ReadError] = []
    for ruleset in rulesets(snapshot):
        if ruleset.facts is not None:
            yield Readable(ruleset.backend, ruleset.families, ruleset.facts)
        elif ruleset.error is not None:
            errors.append(ruleset.error)
    raise_worst(errors)
