"""kernel/nft/reached.py: a large table is read chain after chain, as far as packets come."""

import pytest

from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.netlink.attributes import text
from netfilter_exporter.kernel.netlink.messages import nfnetlink_map
from netfilter_exporter.kernel.nft import reached
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.nft.reached import read_reached
from netfilter_exporter.kernel.nft.rules import RuleReader
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_GETRULE, NFTA_RULE_CHAIN
from netfilter_exporter.rules.families import Hook
from netfilter_exporter.rules.model import Chain
from support import nft
from support.script import connect, done, dumped

TABLE = nft.IP, "t"
BASES = {"c": Chain([], Hook.POSTROUTING, "nat")}


def rules(*jumps, chain="c"):
    """Return the answer to a question for a chain that jumps to others."""
    return [dumped(*[nft.rule(nft.immediate(nft.JUMP, to), chain=chain) for to in jumps]), done()]


EMPTY = [done()]


def read(*answers, gate=lambda: None):
    """Return what is read of a table, and the chains that were asked for."""
    connection, script = connect(*answers)
    reader = RuleReader(connection)
    maps = Maps().begin(connection, {TABLE: 1}, tuple, reader.names)
    found = read_reached(reader, TABLE, BASES, maps, gate)
    asked = [nfnetlink_map(memoryview(r.payload)) for r in script.requests if is_of_rules(r)]
    return found, [text(each[NFTA_RULE_CHAIN]) if NFTA_RULE_CHAIN in each else "" for each in asked]


def is_of_rules(request):
    return request.type == NFT_MSG_GETRULE


def test_chains_are_read_as_rules_lead_to_them():
    """Each once, whoever leads there; a chain without rules is none."""
    found, asked = read(
        rules("a", "b"), rules("d", "d", chain="b"), EMPTY, rules("d", "c", chain="a")
    )
    assert asked == ["c", "b", "d", "a"]
    assert {name: len(chain.rules) for name, chain in found.chains.items()} == {
        "c": 2,
        "b": 2,
        "a": 2,
    }
    assert found.chains["c"].hook is Hook.POSTROUTING


def test_a_map_leads_on():
    """To the chains of its elements, which may use maps in turn."""
    lookup = [dumped(nft.rule(nft.vmap("m"))), done()]
    leads = [dumped(nft.elements(nft.verdict(nft.GOTO, "a"))), done()]
    found, asked = read(lookup, [dumped(nft.set_()), done()], leads, rules("b", chain="a"), EMPTY)
    assert asked == ["c", "a", "b"]
    assert [use.map for use in found.uses] == ["m"]


def test_a_kernel_that_knows_no_filter_is_asked_once():
    """It gives the whole table each time, which no rule of another chain may hide."""
    whole = [dumped(nft.rule(nft.immediate(nft.JUMP, "a")), nft.rule(chain="a")), done()]
    found, asked = read(whole, whole)
    assert asked == ["c", ""]
    assert {name: len(chain.rules) for name, chain in found.chains.items()} == {"c": 1, "a": 1}


def test_the_gate_is_asked_now_and_then(monkeypatch):
    """A large table takes seconds, in which nf_tables may be unloaded: asking would load it."""
    monkeypatch.setattr(reached, "_ASKED", 2)

    def gate():
        raise NoData("gone")

    with pytest.raises(NoData):
        read(rules("a"), EMPTY, gate=gate)
