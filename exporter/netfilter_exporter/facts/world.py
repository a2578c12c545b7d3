"""The host as `rules.matchability` reads it: sets, interfaces, addresses and settings."""

from __future__ import annotations

from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.ownership import ownership
from netfilter_exporter.facts.set_contents import SetReader
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel import files, names
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.nft.map_families import padded_size
from netfilter_exporter.kernel.ports import is_port
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import (
    INTERFACE_BYTES,
    INTERFACES,
    Field,
    InIpset,
    InSet,
    Range,
)
from netfilter_exporter.rules.matchability import Cause, Reason
from netfilter_exporter.rules.model import INDEX, is_among
from netfilter_exporter.rules.preconditions import Destinations

#: Interfaces whose route_localnet is read: with more of them it is not judged.
_MOST_INTERFACES = 64


class World:
    """The host for any packet; what cannot be read does not fail a rule."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._sets = SetReader(snapshot)
        self._names = {index: name for name, index in interfaces(snapshot).items()}
        self._interfaces: dict[str, Cause | None] = {}
        self._destinations: dict[Destinations, Cause | None] = {}
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

    def leaves(self, match: Range) -> Cause | None:  # noqa: ARG002 - of any packet
        return None


class AtEgress(World):
    """The host for packets that leave by one interface."""

    def __init__(self, world: World, name: str) -> None:
        vars(self).update(vars(world))
        self._egress = name
        padded = names.encode(name).ljust(INTERFACE_BYTES, b"\0")
        self._numbers = {
            Field.OUTPUT_INTERFACE: int.from_bytes(padded, "big"),
            Field.OUTPUT_INDEX: interfaces(self._snapshot)[name],
        }
        self._another = Cause(Reason.ANOTHER_EGRESS, name)

    def leaves(self, match: Range) -> Cause | None:
        number = self._numbers[match.field]
        matches = any(first <= number <= last for first, last in match.intervals)
        return None if matches else self._another

    def _judge_part(self, field: Field, name: str) -> Cause | None:
        if field is Field.OUTPUT_INTERFACE and name != self._egress:
            return self._another
        return super()._judge_part(field, name)


def _name(key: bytes) -> str:
    return names.decode(key)
