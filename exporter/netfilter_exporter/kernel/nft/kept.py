"""The nftables ruleset from one reading to the next: in increments where that is possible."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import Callable, NamedTuple

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.transport import Transport
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.nft.changes import Listener
from netfilter_exporter.kernel.nft.increments import Increments, NoFilter
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.nft.tables import Basis, Connect, Reading
from netfilter_exporter.rules.model import Table
from netfilter_exporter.rules.reachability import Memory, RulesetFacts, analyze

Gate = Callable[[], None]
Join = Callable[[], Transport]


class _Kept(NamedTuple):
    """A reading that can go on, and what its tables say."""

    increments: Increments
    tables: list[Table]
    facts: RulesetFacts
    memory: Memory  #: of their analysis


class KeptRuleset:
    """The ruleset of one life of nf_tables, for one reading after the other.

    It listens once the ruleset has changed, and never where there were more than a few rules: one
    command may bring as many again, with a message for each.
    """

    def __init__(self, few: int) -> None:
        """`few` is the number of rules up to which it listens to changes; 0: never."""
        self._few = few
        self._has_read = False
        self._maps = Maps()
        self._kept: _Kept | None = None
        self._caught_up: Increments | None = None
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Stop listening: where a reading is under way, as soon as it ends."""
        with self._lock:
            self._closed = True
            kept, self._kept = self._kept, None
        if kept:
            kept.increments.close()

    def read(self, connect: Connect, join: Join, gate: Gate) -> tuple[Reading, RulesetFacts]:
        """Return the ruleset and what it says.

        `join` returns a socket in NFNLGRP_NFTABLES; `gate` raises where asking, or joining, may
        load a module.
        """
        with self._lock:
            kept, self._kept = self._kept, None
        found = self._read_increment(kept, connect, gate) if kept else None
        if found is None:
            del kept
            found = self._read_all(connect, join, gate)
        return found

    def _read_increment(
        self, kept: _Kept, connect: Connect, gate: Gate
    ) -> tuple[Reading, RulesetFacts] | None:
        """Return what was kept as it is now; None where all has to be read."""
        increments, tables, facts, memory = kept
        try:
            with contextlib.closing(connect(False)) as connection:
                reading = increments.read(connection, gate)
        except ReadError as error:
            increments.close()
            self._give_up_after(error)
            return None
        if reading.tables is not tables:
            facts = analyze(reading.tables, memory)
        self._keep(kept._replace(tables=reading.tables, facts=facts))
        return reading, facts

    def _read_all(self, connect: Connect, join: Join, gate: Gate) -> tuple[Reading, RulesetFacts]:
        catch_up = functools.partial(self._catch_up, join, gate)
        few = self._few if self._has_read else 0
        reading = nftables.read_tables(connect, self._maps, gate, few, catch_up)
        self._has_read = True
        if reading.rules > self._few:
            self._few = 0
        increments, self._caught_up = self._caught_up, None
        if reading.basis:
            with contextlib.suppress(ReadError):  # it may not listen: then all is read each time
                gate()
                increments = _begin(reading, reading.basis, connect, join())
        facts = analyze(reading.tables)
        if increments:  # what its analysis finds out is remembered from the first change on
            self._keep(_Kept(increments, reading.tables, facts, {}))
        return reading, facts

    def _catch_up(self, join: Join, gate: Gate, connection: Connection) -> Reading | None:
        """Return a ruleset that changes faster than it can be read; None where it cannot listen.

        It is read once, chain after chain, and then what has changed meanwhile.
        """
        if not self._few or not self._has_read:
            return None
        try:
            gate()
            joined = join()
        except ReadError:
            return None
        with contextlib.ExitStack() as stack:
            stack.callback(joined.close)
            try:
                increments = self._begin_restless(connection, joined, gate)
                reading = increments.read(connection, gate) if increments else None
            except ReadError as error:
                self._give_up_after(error)
                return None
            if reading:
                self._caught_up = increments
                stack.pop_all()
            return reading

    def _begin_restless(
        self, connection: Connection, joined: Transport, gate: Gate
    ) -> Increments | None:
        generation = nftables.read_generation(connection)
        newest = nftables.read_newest(connection)
        if nftables.read_generation(connection) != generation:
            return None
        look = nftables.read_by_chain(connection, self._maps, gate, newest)
        if not look.basis or look.rules > self._few:
            return None
        return Increments(look, look.basis, Listener(joined, generation))

    def _give_up_after(self, error: ReadError) -> None:
        """Never listen again where this kernel lists no single chain."""
        if isinstance(error, NoFilter):
            self._few = 0

    def _keep(self, kept: _Kept) -> None:
        with self._lock:
            if kept.increments.rules > self._few:
                self._few = 0
            if self._closed or not self._few:
                kept.increments.close()
            else:
                self._kept = kept


def _begin(
    reading: Reading, basis: Basis, connect: Connect, joined: Transport
) -> Increments | None:
    """Go on from a reading, unless the ruleset has changed since: no message says how."""
    generation = None
    with contextlib.suppress(ReadError), contextlib.closing(connect(False)) as connection:
        generation = nftables.read_generation(connection)
    if generation == reading.generation:
        return Increments(reading, basis, Listener(joined, generation))
    joined.close()
    return None
