"""nftables messages, made of their parts (include/uapi/linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import struct

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.netlink.attributes import nest, pack, pack_name
from netfilter_exporter.kernel.netlink.messages import nfgenmsg

INET, IP, IP6, NETDEV = 1, 2, 10, 5
EQ, NEQ = 0, 1
IIF, OIF, IIFNAME, OIFNAME, NFPROTO, PROTOCOL = 4, 5, 6, 7, 15, 1
ACCEPT, DROP, JUMP, GOTO, RETURN, CONTINUE = 1, 0, -3, -4, -5, -1


def number(type_: int, value: int) -> bytes:
    return pack(type_, struct.pack(">i", value))


def name(type_: int, value: str) -> bytes:
    return pack_name(type_, value)


def expression(kind: str, *data: bytes) -> bytes:
    """Return a list element with an expression."""
    return nest(1, name(1, kind), nest(2, *data))


def verdict(code: int, chain: str = "") -> bytes:
    """Return an NFTA_DATA_VERDICT."""
    return nest(2, number(1, code), *([name(2, chain)] if chain else []))


def immediate(code: int, chain: str = "") -> bytes:
    return expression("immediate", number(1, 0), nest(2, verdict(code, chain)))


def load(key: int, register: int = 1) -> bytes:
    return expression("meta", number(2, key), number(1, register))


def cmp(value: bytes, operator: int = EQ, register: int = 1) -> bytes:
    return expression("cmp", number(1, register), number(2, operator), nest(3, pack(1, value)))


def interface(key: int, pattern: str, operator: int = EQ) -> bytes:
    """Return what nft makes of ``iifname PATTERN``."""
    if pattern.endswith("*"):
        return load(key) + cmp(pattern[:-1].encode(), operator)
    return load(key) + cmp(pattern.encode().ljust(16, b"\0"), operator)


def nfproto(family: int) -> bytes:
    return load(NFPROTO) + cmp(bytes([family]))


def vmap(map_: str) -> bytes:
    return expression("lookup", name(1, map_), number(2, 1), number(3, 0))


def masquerade() -> bytes:
    return expression("masq")


def nat(kind: int, family: int, flags: int = 0) -> bytes:
    return expression("nat", number(1, kind), number(2, family), number(3, 1), number(7, flags))


def xt_target(target: str, info: bytes = bytes(24)) -> bytes:
    return expression("target", name(1, target), number(2, 0), pack(3, info))


def xt_match(match: str, info: bytes = bytes(8)) -> bytes:
    return expression("match", name(1, match), number(2, 0), pack(3, info))


def comment(text: str) -> bytes:
    """Return an NFTA_RULE_USERDATA as libnftnl writes it."""
    value = names.encode(text) + b"\0"
    return pack(7, bytes([0, len(value)]) + value)


def counter(packets: int = 0) -> bytes:
    return expression("counter", handle(1, 100 * packets), handle(2, packets))


def rule(
    *expressions: bytes,
    family: int = IP,
    chain: str = "c",
    userdata: bytes = b"",
    number_: int = 1,
) -> bytes:
    """Return the payload of an NFT_MSG_NEWRULE; `number_` is its handle."""
    body = name(1, "t") + name(2, chain) + handle(3, number_) + nest(4, *expressions)
    return nfgenmsg(family) + body + userdata


def chain(
    hook: int | None = None,
    *,
    priority: int = 100,
    policy: int = ACCEPT,
    family: int = IP,
    type_: str = "nat",
    called: str = "c",
    use: int = 0,
    numbered: int = 0,
) -> bytes:
    """Return the payload of an NFT_MSG_NEWCHAIN; `numbered` is its handle."""
    body = name(1, "t") + handle(2, numbered) + name(3, called)
    if hook is not None:
        body += nest(4, number(1, hook), number(2, priority))
        body += number(5, policy) + name(7, type_)
    return nfgenmsg(family) + body + number(6, use)


def handle(type_: int, value: int) -> bytes:
    return pack(type_, struct.pack(">Q", value))


def table(flags: int = 0, family: int = IP) -> bytes:
    """Return the payload of an NFT_MSG_NEWTABLE."""
    return nfgenmsg(family) + name(1, "t") + number(2, flags) + number(3, 0)


def set_(set_name: str = "m", flags: int = 0) -> bytes:
    """Return the payload of an NFT_MSG_NEWSET."""
    return nfgenmsg(IP) + name(1, "t") + name(2, set_name) + number(3, flags)


def elements(*verdicts: bytes) -> bytes:
    """Return the payload of an NFT_MSG_NEWSETELEM of a verdict map."""
    listed = [nest(1, nest(1, pack(1, bytes([i]))), nest(2, v)) for i, v in enumerate(verdicts)]
    return elements_of(*listed)


def elements_of(*listed: bytes) -> bytes:
    """Return the payload of an NFT_MSG_NEWSETELEM with these list elements."""
    return nfgenmsg(IP) + name(1, "t") + name(2, "m") + nest(3, *listed)
