"""The proof of tracking where hooks cannot be listed: one datagram on loopback, looked up.

An entry is proof of tracking, delivered or not. No entry proves the opposite only when the
datagram arrived and nothing may have kept loopback out of tracking or put it into a zone.
The entry is deleted at once; what is left are the marks of rules that the datagram passed, such
as their counters.
"""

from __future__ import annotations

from netfilter_exporter.kernel.conntrack import ctnetlink
from netfilter_exporter.kernel.conntrack.loopback import ADDRESS, Loopback
from netfilter_exporter.kernel.errors import Inconclusive
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.rules.families import Family

#: Part of the limit from which on a new entry could push a real flow out of the table.
FULL = 0.95


def tracks(connection: Connection, loopback: Loopback, family: Family, *, blind: bool) -> bool:
    """Return whether packets of `family` that this host sends are tracked.

    `blind` says that a miss would prove nothing: a notrack or zone rule may touch loopback, or
    the rules could not be read. Raises `Inconclusive` for whatever is neither yes nor no.
    """
    flow = ctnetlink.Tuple(family, ADDRESS[family], *loopback.ports)
    # Asked before anything is sent: without the capability nothing is left behind.
    if ctnetlink.find_entry(connection, flow) is not None:
        raise Inconclusive(f"{family.value}: another flow has the ports of the probe")
    loopback.send()
    if _find_and_delete(connection, flow):
        return True
    delivered = loopback.delivered()
    # A program may have held it in a queue (NFQUEUE): only what has left is in the table.
    if _find_and_delete(connection, flow):
        return True
    if blind:
        raise Inconclusive(f"{family.value}: notrack or zone rules may hide loopback traffic")
    if not delivered:
        raise Inconclusive(f"{family.value}: the probe's datagram was lost on loopback")
    return False


def _find_and_delete(connection: Connection, flow: ctnetlink.Tuple) -> bool:
    identity = ctnetlink.find_entry(connection, flow)
    if identity is None:
        return False
    ctnetlink.delete_entry(connection, flow, identity)
    return True
