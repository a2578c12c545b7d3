"""The host as `rules.matchability` reads it: sets, interfaces, addresses and settings."""

from __future__ import annotations

from collections.abc import Iterable

from netfilter_exporter.facts.egress import ways_out
from netfilter_exporter.facts.forwarding import interfaces, interfaces_by_index, own_addresses
from netfilter_exporter.facts.listeners import Heard, heard_ports
from netfilter_exporter.facts.ownership import ownership
from netfilter_exporter.facts.passage import Judge
from netfilter_exporter.facts.rulesets import rulesets
from netfilter_exporter.facts.set_contents import SetReader
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel import files, names
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.nft.map_families import padded_size
from netfilter_exporter.kernel.ports import is_port
from netfilter_exporter.rules.exemption import exempts_arriving
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.listening import Listening
from netfilter_exporter.rules.match import (
    INPUTS,
    INTERFACE_BYTES,
    INTERFACES,
    LOOPBACK,
    Field,
    InIpset,
    InSet,
    Intervals,
    Range,
    contains,
    interface_number,
    intersection,
)
from netfilter_exporter.rules.matchability import Cause, Reason
from netfilter_exporter.rules.model import INDEX, is_among
from netfilter_exporter.rules.passage import Block
from netfilter_exporter.rules.preconditions import Arriving, Destinations
from netfilter_exporter.rules.publishing import Published

#: Interfaces that are judged for route_localnet and notrack: with more of them none is.
_MOST_INTERFACES = 64


class World:
    """The host for any packet; what cannot be read does not fail a rule."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._sets = SetReader(snapshot)
        self._interfaces: dict[str, Cause | None] = {}
        self._destinations: dict[Destinations, Cause | None] = {}
        self._arriving: dict[Arriving, Cause | None] = {}
        self._judges: dict[Family, Judge] = {}
        known = [ruleset.facts for ruleset in rulesets(snapshot)]
        zones = any(facts is None or facts.zoning for facts in known)
        self._untracked_families = frozenset(f for each in known if each for f in each.untracked)
        #: A packet that has a zone is tracked in spite of notrack.
        self._untracking = [t for f in known if f and not zones for t in f.untracking]
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
            name = interfaces_by_index(self._snapshot)[int(name[len(INDEX) :])]
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
                named = (_name(key[at : at + INTERFACE_BYTES]) for key in keys)
                causes = [self._judge_part(field, name) for name in named]
                failing = [cause for cause in causes if cause]
                if len(failing) == len(causes):
                    missing = tuple(name for cause in failing for name in cause.missing)
                    reason = Reason.MISSING_INTERFACE if missing else failing[0].reason
                    return Cause(reason, match.name, missing=missing)
            at += padded_size(field)
        return None

    def _judge_part(self, field: Field, name: str) -> Cause | None:  # noqa: ARG002 - of any packet
        """Judge an element that names an interface."""
        return self.interface(name)

    def ipset(self, match: InIpset) -> Cause | None:
        found = self._sets.read_ipset(match.number)
        if found is None or found.elements:
            return None
        return Cause(Reason.EMPTY_SET, found.name, changes=True)

    def destinations(self, wanted: Destinations) -> Cause | None:
        if wanted not in self._destinations:
            try:
                lost = self._ownership.lost(self._snapshot, wanted)
            except ReadError:
                lost = ""
            self._destinations[wanted] = Cause(Reason.MISSING_ADDRESS, lost) if lost else None
        return self._destinations[wanted]

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

    def arriving(self, wanted: Arriving) -> Cause | None:
        if not self._untracking or wanted.families <= self._untracked_families:
            return None  # that no packet is tracked at all is another finding
        if wanted not in self._arriving:
            try:
                name = self._untracked(wanted)
            except ReadError:
                name = None
            self._arriving[wanted] = Cause(Reason.UNTRACKED, name) if name else None
        return self._arriving[wanted]

    def _untracked(self, wanted: Arriving) -> str | None:
        """Return an interface if nothing that a rule may match is tracked, wherever it arrives.

        Judged where a private network that the rule may match has a way to the internet. Nobody
        knows what else arrives where that leaves.
        """
        ways = [
            way
            for way in ways_out(self._snapshot, wanted.families)
            if wanted.sources is None or contains(wanted.sources, ((way.source, way.source),))
        ]
        if len(interfaces(self._snapshot)) > _MOST_INTERFACES:
            return None
        tables = [table for table in self._untracking if table.families & wanted.families]
        found = None
        for family in {way.family for way in ways}:
            out = {name for way in ways if way.family is family for name in way.out}
            for name, number in interfaces(self._snapshot).items():
                incoming = Incoming(family, name, number, wanted.sources)
                inputs = [(match.field, match.intervals) for match in wanted.inputs]
                if name == "lo" or name in out or not _fits(inputs, name, number):
                    continue
                if is_port(self._snapshot.paths, name):  # its bridge or bond is where it arrives
                    continue
                if not exempts_arriving(tables, incoming):
                    return None
                if any((way.family, way.arriving) == (family, name) for way in ways):
                    found = name
        return found

    def leaves(self, match: Range) -> Cause | None:  # noqa: ARG002 - of any packet
        return None

    def listening(self, wanted: Listening) -> Cause | None:
        """Judge a rule for this host's programs; an address that is not this host's is not."""
        try:
            if not self._is_own(wanted):
                return None
            heard = heard_ports(self._snapshot.host).of(self._snapshot, wanted)
        except ReadError:
            return None
        if heard is Heard.NOW:
            return None
        return Cause(Reason.NO_LISTENER, wanted.what, changes=heard is Heard.NEVER)

    def published(self, wanted: Published) -> Cause | None:
        """Judge a rule that sends connections to another host by what this host lets pass."""
        try:
            return next(filter(None, (self._dropped(wanted, f) for f in wanted.families)), None)
        except ReadError:
            return None

    def _dropped(self, wanted: Published, family: Family) -> Cause | None:
        if family not in self._judges:
            found = rulesets(self._snapshot)
            self._judges[family] = Judge(self._snapshot, family, found, self._sets)
        for what, packets in wanted.packets(family, *self._only_input(wanted)).items():
            if block := self._judges[family].block(packets):
                own = ((number, number) for number in own_addresses(self._snapshot)[family])
                if intersection(wanted.addresses, (*own, *LOOPBACK[family])):
                    return None
                return Cause(Reason.DROPPED, _dropping(block[1], what))
        return None

    def _only_input(self, wanted: Published) -> tuple[str, int]:
        """Return the one interface that a rule names, and its index: rules name either."""
        inputs = [each for each in wanted.matched if each[0] in INPUTS]
        found = [each for each in interfaces(self._snapshot).items() if _fits(inputs, *each)]
        return found[0] if inputs and len(found) == 1 else ("", 0)

    def _is_own(self, wanted: Listening) -> bool:
        return wanted.address is None or any(
            wanted.address in own_addresses(self._snapshot)[family] for family in wanted.families
        )


class AtEgress(World):
    """The host for packets that leave by one interface."""

    def __init__(self, world: World, name: str) -> None:
        vars(self).update(vars(world))
        self._egress = name
        self._numbers = {
            Field.OUTPUT_INTERFACE: interface_number(names.encode(name)),
            Field.OUTPUT_INDEX: interfaces(self._snapshot)[name],
        }
        self._another = Cause(Reason.ANOTHER_EGRESS, name)

    def leaves(self, match: Range) -> Cause | None:
        number = self._numbers[match.field]
        matches = any(first <= number <= last for first, last in match.intervals)
        return None if matches else self._another

    def arriving(self, wanted: Arriving) -> Cause | None:  # noqa: ARG002 - another finding's
        return None

    def _judge_part(self, field: Field, name: str) -> Cause | None:
        if field is Field.OUTPUT_INTERFACE and name != self._egress:
            return self._another
        return super()._judge_part(field, name)


def _fits(inputs: Iterable[tuple[Field, Intervals]], name: str, number: int) -> bool:
    """Return whether an interface is one of those that a rule names, or it names none."""
    numbers = {
        Field.INPUT_INTERFACE: interface_number(names.encode(name)),
        Field.INPUT_INDEX: number,
    }
    return all(contains(found, ((numbers[field],) * 2,)) for field, found in inputs)


def _dropping(block: Block, what: str) -> str:
    """Say which chain drops so much."""
    place = f"{block.place} in table {block.table}"
    if block.queue is None:
        return f"{place} drops every {what}"
    return f"{place} sends every {what} to queue {block.queue}, where no program listens"


def _name(key: bytes) -> str:
    return names.decode(key)
