"""The handles of tables, chains and rules, with which nft(8) names them."""

from __future__ import annotations

from netfilter_exporter.kernel.netlink.attributes import pack_name, text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import nfgenmsg, nfnetlink_map
from netfilter_exporter.kernel.nft.maps import TableKey
from netfilter_exporter.kernel.nft.tables import parse_table
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETRULE,
    NFT_MSG_GETTABLE,
    NFTA_CHAIN_HANDLE,
    NFTA_CHAIN_NAME,
    NFTA_CHAIN_TABLE,
    NFTA_RULE_CHAIN,
    NFTA_RULE_HANDLE,
    NFTA_RULE_TABLE,
    NFTA_TABLE_NAME,
)


def read_handles(connection: Connection, table: TableKey, chain: str) -> list[int]:
    """Return the handles of the rules of one chain, in their order."""
    request = (
        nfgenmsg(table[0])
        + pack_name(NFTA_RULE_TABLE, table[1])
        + pack_name(NFTA_RULE_CHAIN, chain)
    )
    found = connection.dump("nftables GETRULE", NFT_MSG_GETRULE, request, parse_handle)
    # A kernel that does not know the filter gives all rules.
    return [handle for key, name, handle in found if (key, name) == (table, chain)]


def read_chain_handles(connection: Connection, table: TableKey, chain: str) -> tuple[int, int]:
    """Return the handles of a table, 0 before v4.16, and of a chain of it; raises `NoData`."""
    family, name = table
    of_table = nfgenmsg(family) + pack_name(NFTA_TABLE_NAME, name)
    of_chain = (
        nfgenmsg(family) + pack_name(NFTA_CHAIN_TABLE, name) + pack_name(NFTA_CHAIN_NAME, chain)
    )
    found = parse_table(connection.ask("nftables GETTABLE", NFT_MSG_GETTABLE, of_table))
    answer = nfnetlink_map(connection.ask("nftables GETCHAIN", NFT_MSG_GETCHAIN, of_chain))
    return found.handle, int.from_bytes(answer[NFTA_CHAIN_HANDLE], "big")


def parse_handle(payload: memoryview) -> tuple[TableKey, str, int]:
    """Return table, chain and handle of an NFT_MSG_NEWRULE."""
    found = nfnetlink_map(payload)
    key = payload[0], text(found[NFTA_RULE_TABLE])
    return key, text(found[NFTA_RULE_CHAIN]), int.from_bytes(found[NFTA_RULE_HANDLE], "big")
