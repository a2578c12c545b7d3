"""kernel/conntrack/probe.py: what one datagram proves, and what it leaves behind."""

import errno

import pytest

from netfilter_exporter.kernel.conntrack import ctnetlink, probe
from netfilter_exporter.kernel.errors import Inconclusive
from netfilter_exporter.kernel.netlink.attributes import attribute_map, pack
from netfilter_exporter.kernel.netlink.messages import NetlinkError
from netfilter_exporter.rules.families import Family
from support import wire
from support.script import connect, dumped

FLOW = ctnetlink.Tuple(Family.IPV4, "127.0.0.1", 40000, 40001)
ENTRY = ctnetlink.message(FLOW) + pack(ctnetlink.CTA_ID, b"\xde\xad\xbe\xef")
FOUND = [dumped(ENTRY)]
NOT_FOUND = [wire.error(errno.ENOENT)]
ACK = [wire.error(0)]
GET, DELETE = ctnetlink.IPCTNL_MSG_CT_GET, ctnetlink.IPCTNL_MSG_CT_DELETE


class Pair:
    """Two connected sockets."""

    ports = (40000, 40001)

    def __init__(self, *, arrives=True, refused=False):
        self.sent = 0
        self._arrives = arrives
        self._refused = refused

    def send(self):
        if self._refused:
            raise Inconclusive("a datagram to 127.0.0.1 was refused: Operation not permitted")
        self.sent += 1

    def delivered(self):
        return self.sent > 0 and self._arrives

    def close(self):
        pass


def ask(*answers, pair=None, blind=False):
    """Probe a kernel that answers in this order; return the verdict, the requests and the pair."""
    pair = pair or Pair()
    connection, script = connect(*answers)
    verdict = probe.tracks(connection, pair, Family.IPV4, blind=blind)
    return verdict, script.requests, pair


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("arrives", [False, True])
def test_an_entry_is_proof_and_is_deleted(blind, arrives):
    """Delivered or not, whatever the rules say; and nothing but this entry is deleted."""
    pair = Pair(arrives=arrives)
    verdict, requests, _ = ask(NOT_FOUND, FOUND, ACK, pair=pair, blind=blind)
    assert verdict is True
    assert pair.sent == 1
    assert [request.type for request in requests] == [GET, GET, DELETE]
    asked, deleted = (attribute_map(memoryview(r.payload), 4) for r in requests[1:])
    assert deleted[ctnetlink.CTA_TUPLE_ORIG] == asked[ctnetlink.CTA_TUPLE_ORIG]
    assert bytes(deleted[ctnetlink.CTA_ID]) == b"\xde\xad\xbe\xef"


def test_no_entry_of_what_arrived_is_proof_of_the_opposite():
    """Nothing is deleted where nothing was found."""
    verdict, requests, _ = ask(NOT_FOUND, NOT_FOUND, NOT_FOUND)
    assert verdict is False
    assert [request.type for request in requests] == [GET, GET, GET]


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("arrives", [False, True])
def test_what_a_program_held_back_is_looked_for_again(blind, arrives):
    """An entry that only a verdict of NFQUEUE brings is proof too, and is deleted."""
    answers = NOT_FOUND, NOT_FOUND, FOUND, ACK
    verdict, requests, _ = ask(*answers, pair=Pair(arrives=arrives), blind=blind)
    assert verdict is True
    assert [request.type for request in requests] == [GET, GET, GET, DELETE]


def test_a_miss_where_rules_may_hide_loopback_proves_nothing():
    """A notrack or zone rule, or a ruleset that could not be read, looks like no tracking."""
    with pytest.raises(Inconclusive, match="notrack or zone"):
        ask(NOT_FOUND, NOT_FOUND, NOT_FOUND, blind=True)


def test_a_miss_of_what_was_lost_proves_nothing():
    """A filter that drops the datagram before it is tracked looks like no tracking."""
    with pytest.raises(Inconclusive, match="lost on loopback"):
        ask(NOT_FOUND, NOT_FOUND, NOT_FOUND, pair=Pair(arrives=False))


def test_a_datagram_that_is_refused_proves_nothing():
    """EPERM may be a full table, and may be a filter."""
    with pytest.raises(Inconclusive, match="refused"):
        ask(NOT_FOUND, NOT_FOUND, NOT_FOUND, pair=Pair(refused=True))


def test_without_the_capability_nothing_is_sent():
    """The first question is one that leaves no mark."""
    pair = Pair()
    with pytest.raises(NetlinkError, match="Operation not permitted"):
        ask([wire.error(errno.EPERM)], pair=pair)
    assert pair.sent == 0


def test_the_entry_of_another_flow_is_no_proof_and_is_kept():
    """A left-over of the same ports is neither taken for ours nor deleted."""
    pair = Pair()
    with pytest.raises(Inconclusive, match="another flow"):
        ask(FOUND, pair=pair)
    assert pair.sent == 0
