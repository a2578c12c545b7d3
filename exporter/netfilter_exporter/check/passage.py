"""Check of what the rules let pass: whether connections and replies are forwarded."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import commands, places
from netfilter_exporter.check.context import FAMILY, Context
from netfilter_exporter.check.findings import Found, Value
from netfilter_exporter.check.rules import every_ruleset_read
from netfilter_exporter.check.shell import Line, comment
from netfilter_exporter.facts.passage import Blocked, Packets, blocked_interfaces
from netfilter_exporter.kernel.conntrack.flow import PROTOCOLS

_WHAT = {
    Packets.NEW: "new connection from",
    Packets.LATER: "packet of an established connection from",
    Packets.REPLIES: "reply from",
    Packets.REPLIES_TO: "reply to",
}


def forward_blocked(context: Context) -> Iterator[Found]:
    """Interfaces that NAT rules serve, and whose connections or replies are dropped."""
    for blocked in blocked_interfaces(context.snapshot):
        block = blocked.block
        place = commands.where(blocked.backend, block.families, block.table)
        yield Found(
            f"{FAMILY[blocked.family]}: no {_what(blocked)} {blocked.interface} is forwarded:"
            f" {place}: {_cause(blocked)}.",
            f"The kernel drops them at the {block.hook.label} hook. Packets pass the base chains of"
            " all tables there: an accept in another table does not help.",
            _evidence(blocked),
            _remedy(context, blocked),
        )
    every_ruleset_read(context)


def _what(blocked: Blocked) -> str:
    words = [_WHAT[blocked.packets]]
    if len(blocked.protocols) == 1:
        words = [PROTOCOLS[blocked.protocols[0]].upper(), *words]
    return " ".join(words)


def _cause(blocked: Blocked) -> str:
    block = blocked.block
    if not block.chain:
        return f"{block.place} is drop, and no rule of it accepts them"
    if block.queue is None:
        return f"{block.place} drops all of them"
    return f"{block.place} hands them to queue {block.queue}, and no program listens"


def _evidence(blocked: Blocked) -> dict[str, Value]:
    block = blocked.block
    found: dict[str, Value] = {
        "interface": blocked.interface,
        "family": blocked.family.value,
        "backend": blocked.backend.value,
        "table": block.table,
        "chain": block.base,
        "hook": block.hook.label,
    }
    if not block.chain:
        return {**found, "policy": "drop"}
    found["rule"] = f"{block.chain} rule {block.position}"
    return found if block.queue is None else {**found, "queue": block.queue}


def _remedy(context: Context, blocked: Blocked) -> tuple[Line, ...]:
    block = blocked.block
    table = block.families, block.table
    place = places.of(context, blocked.backend, table, block.chain or block.base, block.position)
    if block.queue is not None:
        return (
            *place.list_rules(),
            comment(f"start the program that reads queue {block.queue},"),
            comment("or let packets pass without it: --queue-bypass, nft: queue flags bypass"),
        )
    where = f"before rule {block.position}" if block.chain else "in this chain"
    what = "its new connections" if blocked.packets is Packets.NEW else "established connections"
    return (
        *place.list_rules(),
        comment(f"to forward {blocked.interface}, accept {what} {where}"),
        comment("then change it where the rules come from, too"),
    )
