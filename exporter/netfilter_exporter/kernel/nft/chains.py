"""The chains of nftables: what is hooked where, and the names of the others."""

from __future__ import annotations

from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.names import Names
from netfilter_exporter.kernel.netlink.attributes import attribute_map, be32, text
from netfilter_exporter.kernel.netlink.messages import nfnetlink_map, nfnetlink_places
from netfilter_exporter.kernel.nft.maps import ParsedChain
from netfilter_exporter.kernel.nft.uapi import (
    NF_DROP,
    NFTA_CHAIN_HANDLE,
    NFTA_CHAIN_HOOK,
    NFTA_CHAIN_NAME,
    NFTA_CHAIN_POLICY,
    NFTA_CHAIN_TABLE,
    NFTA_CHAIN_TYPE,
    NFTA_CHAIN_USE,
    NFTA_HOOK_HOOKNUM,
    NFTA_HOOK_PRIORITY,
)
from netfilter_exporter.kernel.parser_cache import Parsed, Picker
from netfilter_exporter.rules.families import FAMILIES_OF, HOOKS
from netfilter_exporter.rules.model import Chain

_OF_USER_CHAIN = (NFTA_CHAIN_HANDLE, NFTA_CHAIN_NAME, NFTA_CHAIN_USE)


def parse_use(payload: memoryview) -> int:
    """Return the number of rules and references of one NFT_MSG_NEWCHAIN."""
    use = nfnetlink_map(payload).get(NFTA_CHAIN_USE, memoryview(b""))
    return int.from_bytes(use, "big")


def parse_chain(payload: memoryview, names: Names | None = None) -> Parsed[ParsedChain]:
    """Parse an NFT_MSG_NEWCHAIN; user chains of one shape differ in name and handle.

    `names` are those that were met in the same reading.
    """
    known = Names() if names is None else names
    values = nfnetlink_places(payload)
    for type_ in (NFTA_CHAIN_TABLE, NFTA_CHAIN_HANDLE, NFTA_CHAIN_NAME):
        if type_ not in values:
            raise Malformed("nftables: a chain without a table, a handle or a name")
    table = payload[0], text(payload[values[NFTA_CHAIN_TABLE]])
    if NFTA_CHAIN_HOOK in values:
        base = parse_base(payload)
        name = text(payload[values[NFTA_CHAIN_NAME]])
        handle = bytes(payload[values[NFTA_CHAIN_HANDLE]])
        use = bytes(payload[values.get(NFTA_CHAIN_USE, slice(0, 0))])
        return Parsed(lambda _: (table, handle, name, use, base), ())
    ignored = [place for type_, place in values.items() if type_ != NFTA_CHAIN_TABLE]
    picker = Picker(len(payload), [values[type_] for type_ in _OF_USER_CHAIN if type_ in values])
    pick = picker.unpack
    handle_at, name_at = (picker.at(values[type_]) for type_ in _OF_USER_CHAIN[:2])
    use_at = picker.at(values[NFTA_CHAIN_USE]) if NFTA_CHAIN_USE in values else None

    def make(message: memoryview) -> ParsedChain:
        picked = pick(message)
        use = b"" if use_at is None else picked[use_at]
        return table, picked[handle_at], known[picked[name_at]], use, None

    return Parsed(make, ignored)


def parse_base(payload: memoryview) -> Chain:
    """Parse the NFT_MSG_NEWCHAIN of a chain that has a hook, a type and a policy."""
    found = nfnetlink_map(payload)
    hook = attribute_map(found[NFTA_CHAIN_HOOK])
    inet = payload[0] in FAMILIES_OF
    return Chain(
        [],
        # NF_INET_INGRESS is beyond the five; netdev, arp and bridge number theirs differently
        HOOKS.get(be32(hook[NFTA_HOOK_HOOKNUM])) if inet else None,
        text(found[NFTA_CHAIN_TYPE]) if NFTA_CHAIN_TYPE in found else "",
        int.from_bytes(hook[NFTA_HOOK_PRIORITY], "big", signed=True),
        drops=NFTA_CHAIN_POLICY in found and be32(found[NFTA_CHAIN_POLICY]) == NF_DROP,
    )
