"""What is read over netlink is what pyroute2 reads."""

import collections

import pytest

from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.nft.tables import read_tables
from support import inside, random_rules
from support.namespace import Failed

pyroute2 = pytest.importorskip("pyroute2")

FORWARDED = {0, 2, 4}  # NF_INET_PRE_ROUTING, NF_INET_FORWARD, NF_INET_POST_ROUTING


@pytest.mark.parametrize("seed", range(12))
def test_tables_chains_and_rules_are_those_of_pyroute2(namespace, seed):
    """Names of tables and base chains agree, and the rules of each chain where they matter."""
    try:
        namespace.run("nft", "-f", "-", stdin=random_rules.nft(seed))
    except Failed:
        namespace.run("nft", "table ip t { chain c { accept; }; }")
    assert namespace.call(ours) == namespace.call(theirs)


def ours():
    """Return the number of rules by families, table and chain; runs inside the namespace."""
    snapshot = inside.host().snapshot(timeout=60.0)
    try:
        tables = read_tables(lambda _: snapshot.connection(NETLINK_NETFILTER), Maps()).tables
    finally:
        snapshot.close()
    return {
        (len(table.families), table.name, name): len(chain.rules)
        for table in tables
        for name, chain in table.chains.items()
    }


def theirs():
    """Return the same of base chains, and of chains with rules, as pyroute2 reads them.

    Rules of tables that neither translate nor see what is forwarded (here none comes before
    tracking) are not ours to read.
    """
    from pyroute2.nftables.main import NFTables  # noqa: PLC0415 - inside the namespace

    counts = collections.Counter()
    of_interest = set()
    with NFTables(nfgen_family=0) as nft:
        for chain in nft.get_chains():
            hook = chain.get_attr("NFTA_CHAIN_HOOK")
            if hook:
                found = key(chain, "NFTA_CHAIN_TABLE", "NFTA_CHAIN_NAME")
                counts[found] += 0
                translates = chain.get_attr("NFTA_CHAIN_TYPE") == "nat"
                if translates or hook.get_attr("NFTA_HOOK_HOOKNUM") in FORWARDED:
                    of_interest.add(found[:2])
        for rule in nft.get_rules():
            found = key(rule, "NFTA_RULE_TABLE", "NFTA_RULE_CHAIN")
            if found[:2] in of_interest:
                counts[found] += 1
    return dict(counts)


def key(message, table, chain):
    """Return how many families see the table, its name, and that of the chain."""
    families = {1: 2, 2: 1, 10: 1}[message["nfgen_family"]]
    return families, message.get_attr(table), message.get_attr(chain)
