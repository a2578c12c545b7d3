"""Facts about translating rules that no packet of this host can match."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.ownership import ownership
from netfilter_exporter.facts.rulesets import Ruleset, rulesets
from netfilter_exporter.facts.set_contents import SetReader, set_reader
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.ports import is_port
from netfilter_exporter.rules import matchability
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.match import INTERFACE_BYTES, INTERFACES, InIpset, InSet
from netfilter_exporter.rules.matchability import Cause, Reason, Unmatchable
from netfilter_exporter.rules.model import INDEX, is_among
from netfilter_exporter.rules.preconditions import Destinations

_WORD = 4  # NFT_REG32_SIZE: each part of a key is padded to it
#: Interfaces whose route_localnet is read: with more of them it is not judged.
_MOST_INTERFACES = 64


class Unmatched(NamedTuple):
    """What is known of the rules of all rulesets that were read."""

    rules: tuple[tuple[Backend, Unmatchable], ...] = ()
    #: Addresses that rules translate to and that no host has: backend, table, family and number.
    addresses: tuple[tuple[Backend, str, Family, int], ...] = ()
    #: Source-translating rules that packets may match, of families that have such rules.
    sources: tuple[tuple[Family, int], ...] = ()


def named_in_sets(found: Unmatched) -> Iterator[tuple[Backend, Family, str, str]]:
    """Yield (backend, family, chain, interface) for sets that name only missing interfaces."""
    for backend, each in found.rules:
        cause = each.cause
        if cause.missing and cause.what not in cause.missing:
            for family in each.rule.families:
                for name in cause.missing:
                    yield backend, family, each.rule.chain, name


class _Last:
    """The last answer: while nothing changes it stays the same object."""

    found = Unmatched()


@kept
def _last(_: Host) -> _Last:
    return _Last()


@fact
def unmatched(snapshot: Snapshot) -> Unmatched:
    """The translating rules that no packet can match, and how many sources may be translated."""
    last = _last(snapshot.host)
    found = _judge(snapshot)
    if found != last.found:
        last.found = found
    return last.found


def _judge(snapshot: Snapshot) -> Unmatched:
    world = _World(snapshot)
    found = [
        (ruleset.backend, rule)
        for ruleset in rulesets(snapshot)
        for conditions in (ruleset.facts.preconditions if ruleset.facts else ())
        if conditions.is_in_question
        for rule in matchability.judge(conditions, world)
    ]
    world.close()
    missing = tuple(dict.fromkeys(_missing(snapshot)))
    return Unmatched(
        tuple(found), missing, _sources(rulesets(snapshot), (rule for _, rule in found))
    )


def _missing(snapshot: Snapshot) -> Iterator[tuple[Backend, str, Family, int]]:
    """Yield the addresses that rules give outgoing packets and that no host has."""
    known = ownership(snapshot.host)
    for ruleset in rulesets(snapshot):
        for conditions in ruleset.facts.preconditions if ruleset.facts else ():
            for target in dict.fromkeys(rule.target for rule in conditions.rules if rule.target):
                key = target.family, target.numbers[0]
                with contextlib.suppress(ReadError):
                    if known.is_missing(snapshot, key):
                        yield ruleset.backend, conditions.table, *key


def _sources(
    found: Iterable[Ruleset], failing: Iterable[Unmatchable]
) -> tuple[tuple[Family, int], ...]:
    """Return the sources that may be translated; none of a family that could not be read."""
    there: Counter[Family] = Counter()
    unread: set[Family] = set()
    for ruleset in found:
        if ruleset.facts is None:
            unread.update(ruleset.families)
            continue
        for conditions in ruleset.facts.preconditions:
            there.update(conditions.sources)
    lost: Counter[Family] = Counter()
    for each in failing:
        # A set that empties by itself, and is filled again, proves nothing now.
        if each.rule.is_source and not each.cause.changes:
            lost.update(each.rule.families)
    return tuple((f, there[f] - lost[f]) for f in Family if there[f] and f not in unread)


class _World:
    """The host, as `matchability` asks for it; what cannot be read does not fail a rule."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._sets: SetReader = set_reader(snapshot)
        self._names = {index: name for name, index in interfaces(snapshot).items()}
        self._interfaces: dict[str, Cause | None] = {}
        self._ownership = ownership(snapshot.host)
        self._ownership.begin(snapshot)

    def close(self) -> None:
        self._sets.close()

    def interface(self, name: str) -> Cause | None:
        if name not in self._interfaces:
            self._interfaces[name] = self._judge_interface(name)
        return self._interfaces[name]

    def _judge_interface(self, name: str) -> Cause | None:
        if not is_among(name, interfaces(self._snapshot)):
            return Cause(Reason.MISSING_INTERFACE, name, missing=(name,))
        if name.startswith(INDEX):
            name = self._names[int(name[len(INDEX) :])]
        port = is_port(self._snapshot.paths, name)
        return Cause(Reason.BRIDGE_PORT, name) if port else None

    def set(self, families: frozenset[Family], table: str, match: InSet) -> Cause | None:
        found = self._sets.read(families, table, match.name)
        if found is None:
            return None
        if found.empty:
            return Cause(Reason.EMPTY_SET, match.name, changes=found.changes)
        if found.keys is None or found.changes:
            return None
        return self._judge_names(match, found.keys)

    def _judge_names(self, match: InSet, keys: tuple[bytes, ...]) -> Cause | None:
        """Judge a set by the interfaces that its keys name."""
        at = 0
        for field in match.fields:
            if field is None:
                return None
            if field in INTERFACES:
                names = [_name(key[at : at + INTERFACE_BYTES]) for key in keys]
                causes = [self.interface(name) for name in names]
                if all(causes):
                    missing = tuple(n for cause in causes if cause for n in cause.missing)
                    reason = Reason.MISSING_INTERFACE if missing else Reason.BRIDGE_PORT
                    return Cause(reason, match.name, missing=missing)
            at += (field.size + _WORD - 1) // _WORD * _WORD
        return None

    def ipset(self, match: InIpset) -> Cause | None:
        found = self._sets.read_ipset(match.number)
        if found is None or found.elements:
            return None
        return Cause(Reason.EMPTY_SET, found.name, changes=True)

    def destinations(self, wanted: Destinations) -> Cause | None:
        try:
            lost = self._ownership.lost(self._snapshot, wanted)
        except ReadError:
            return None
        return Cause(Reason.MISSING_ADDRESS, lost) if lost else None

    def loopback(self, from_interfaces: tuple[str, ...]) -> Cause | None:
        """Judge a rule for 127.0.0.0/8: ip_route_input_slow drops what comes in otherwise."""
        names = [name for name in from_interfaces or interfaces(self._snapshot) if name != "lo"]
        if len(names) > _MOST_INTERFACES:
            return None
        try:
            enabled = any(self._routes_localnet(name) for name in ("all", *names))
        except ReadError:
            return None
        what = ", ".join(from_interfaces) or "all"
        return None if enabled else Cause(Reason.ROUTE_LOCALNET, what)

    def _routes_localnet(self, name: str) -> bool:
        path = self._snapshot.paths.proc(f"sys/net/ipv4/conf/{name}/route_localnet")
        return files.read_int(path) != 0


def _name(key: bytes) -> str:
    return key.partition(b"\0")[0].decode("utf-8", "surrogateescape")
