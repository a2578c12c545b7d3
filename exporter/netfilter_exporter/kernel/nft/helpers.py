"""The objects by which rules of nftables assign conntrack helpers.

Source: nf_tables_dump_obj (net/netfilter/nf_tables_api.c) and nft_ct_helper_obj_dump
(net/netfilter/nft_ct.c, v6.18). Asking loads nf_tables where that is a module: pass the gate first.
Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Unsupported
from netfilter_exporter.kernel.netlink.attributes import attribute_map, be32, pack, text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NetlinkError, nfgenmsg, nfnetlink_map
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETOBJ,
    NFT_OBJECT_CT_HELPER,
    NFTA_CT_HELPER_NAME,
    NFTA_OBJ_DATA,
    NFTA_OBJ_TYPE,
    NFTA_OBJ_USE,
)
from netfilter_exporter.rules.families import NFPROTO_UNSPEC


class HelperObject(NamedTuple):
    """A ``ct helper`` of a table."""

    helper: str  #: as the kernel calls it: ftp, or ftp-2121 on another port
    used: bool  #: a rule or a map refers to it


def read_helpers(connection: Connection) -> list[HelperObject]:
    """Return the helper objects of all tables; raises `ReadError`.

    Raises `Unsupported` before v4.10, which had no objects: EINVAL says so.
    """
    wanted = pack(NFTA_OBJ_TYPE, NFT_OBJECT_CT_HELPER.to_bytes(4, "big"))
    request = nfgenmsg(NFPROTO_UNSPEC) + wanted
    try:
        found = connection.dump("nftables GETOBJ", NFT_MSG_GETOBJ, request, parse_helper)
    except NetlinkError as error:
        if error.errno == errno.EINVAL:
            raise Unsupported("this kernel has no objects of nftables") from None
        raise
    return [each for each in found if each is not None]


def parse_helper(payload: memoryview) -> HelperObject | None:
    """Parse an NFT_MSG_NEWOBJ; None for an object of another type."""
    found = nfnetlink_map(payload)
    if be32(found[NFTA_OBJ_TYPE]) != NFT_OBJECT_CT_HELPER:
        return None
    name = attribute_map(found[NFTA_OBJ_DATA])[NFTA_CT_HELPER_NAME]
    return HelperObject(text(name), be32(found[NFTA_OBJ_USE]) > 0)
