"""Rulesets with names of any bytes, made and read in the kernel without nft.

What is called in a process inside a namespace: see support.inside.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.netlink.attributes import nest, pack
from netfilter_exporter.kernel.netlink.messages import (
    HEADER,
    NETLINK_NETFILTER,
    nfgenmsg,
    nfnetlink_map,
)
from support import nft

_SUBSYSTEM = 10 << 8
_NEWTABLE, _GETTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE = 0, 1, 3, 4, 6, 7
_NEWSET, _NEWSETELEM = 9, 12
_MARK, _MARK_TYPE, _VERDICT, _IS_MAP = 3, 19, -256, 8  # nft_meta_keys, nft's datatypes, NFT_SET_MAP
_BEGIN, _END = 16, 17
_REQUEST, _ACK, _DUMP, _CREATE, _APPEND = 1, 4, 0x300, 0x400, 0x800
_DONE = 3
_POSTROUTING, _SRCNAT = 4, 100
_DORMANT = 1


class Chain(NamedTuple):
    """A chain, and its rules, of which each is what stands in its message."""

    family: int
    table: bytes
    chain: bytes
    rules: tuple[bytes, ...]
    dormant: bool = False  #: its table is
    hooked: bool = True


MASQUERADE = nest(4, nft.masquerade())


def accept(comment: bytes) -> bytes:
    """Return a rule that ends its chain for every packet."""
    return nest(4, nft.immediate(nft.ACCEPT)) + nft.comment(names.decode(comment))


def masquerade_behind(interface: bytes) -> bytes:
    """Return a rule for what leaves through an interface."""
    exact = nft.cmp(interface.ljust(16, b"\0"))
    return nest(4, nft.load(nft.OIFNAME), exact, nft.masquerade())


class Rule(NamedTuple):
    """Where a rule is."""

    family: int
    table: bytes
    chain: bytes
    handle: int


class State(NamedTuple):
    """All that there is: flags by table, handles of tables and chains, and rules."""

    tables: dict[tuple[int, bytes], tuple[int, int]]  #: flags and handle
    chains: dict[tuple[int, bytes, bytes], int]
    rules: list[Rule]


class VerdictMap(NamedTuple):
    """A map from the mark 1 to a jump."""

    family: int
    table: bytes
    name: bytes
    chain: bytes


def jump(chain: bytes) -> bytes:
    """Return a rule that sends every packet to a chain."""
    return nest(4, nft.immediate(nft.JUMP, names.decode(chain)))


def jump_by(name: bytes) -> bytes:
    """Return a rule that sends a packet where a `VerdictMap` says."""
    return nest(4, nft.load(_MARK), nft.vmap(names.decode(name)))


def make_map(made: VerdictMap) -> None:
    """Make a map; its table and its chain exist."""
    head = nfgenmsg(made.family) + _name(1, made.table) + _name(2, made.name)
    sizes = (
        nft.number(4, _MARK_TYPE) + nft.number(5, 4) + nft.number(6, _VERDICT) + nft.number(7, 0)
    )
    kind = nft.number(3, _IS_MAP) + sizes + nft.number(10, 1)
    verdict = nft.verdict(nft.JUMP, names.decode(made.chain))
    element = nest(1, nest(1, pack(1, struct.pack("=I", 1))), nest(2, verdict))
    with _opened() as opened:
        _commit(opened, [(_NEWSET, head + kind), (_NEWSETELEM, head + nest(3, element))])


def make(chains: Iterable[Chain]) -> None:
    """Make these chains, and their tables."""
    with _opened() as opened:
        for chain in chains:
            _commit(opened, list(_parts(chain)))


def _commit(opened: socket.socket, commands: list[tuple[int, bytes]]) -> None:
    """Send one batch, and wait for the answer to each command."""
    bounds = struct.pack("=BBH", 0, 0, socket.htons(10))
    flags = _REQUEST | _ACK | _CREATE | _APPEND
    batch = [_message(_BEGIN, _REQUEST, 0, bounds)]
    batch += [_message(_SUBSYSTEM | kind, flags, 0, body) for kind, body in commands]
    opened.send(b"".join((*batch, _message(_END, _REQUEST, 0, bounds))))
    answers = 0
    while answers < len(commands):
        for _, answer in _messages(opened.recv(1 << 16)):
            answers += 1
            (code,) = struct.unpack_from("=i", answer)
            if code:
                raise OSError(-code, "nftables")


def _parts(chain: Chain) -> Iterator[tuple[int, bytes]]:
    head = nfgenmsg(chain.family)
    table, name = _name(1, chain.table), _name(2, chain.chain)
    yield _NEWTABLE, head + table + nft.number(2, _DORMANT if chain.dormant else 0)
    hook = nest(4, nft.number(1, _POSTROUTING), nft.number(2, _SRCNAT)) + nft.name(7, "nat")
    yield _NEWCHAIN, head + table + _name(3, chain.chain) + (hook if chain.hooked else b"")
    for rule in chain.rules:
        yield _NEWRULE, head + table + name + rule


def state() -> State:
    """Return all tables, chains and rules."""
    tables = {
        (family, _text(found[1])): (_number(found[2]), _number(found[4]))
        for family, found in _dump(_GETTABLE)
    }
    chains = {
        (family, _text(found[1]), _text(found[3])): _number(found[2])
        for family, found in _dump(_GETCHAIN)
    }
    rules = [
        Rule(family, _text(found[1]), _text(found[2]), _number(found[3]))
        for family, found in _dump(_GETRULE)
    ]
    return State(tables, chains, rules)


def _dump(kind: int) -> Iterator[tuple[int, dict[int, bytes]]]:
    with _opened() as opened:
        opened.send(_message(_SUBSYSTEM | kind, _REQUEST | _DUMP, 1, nfgenmsg(0)))
        while True:
            for type_, answer in _messages(opened.recv(1 << 17)):
                if type_ == _DONE:
                    return
                view = memoryview(answer)
                yield view[0], {key: bytes(of) for key, of in nfnetlink_map(view).items()}


def _opened() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)


def _message(type_: int, flags: int, sequence: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), type_, flags, sequence, 0) + body


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(datagram):
        length, type_, *_ = HEADER.unpack_from(datagram, offset)
        yield type_, datagram[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _name(type_: int, value: bytes) -> bytes:
    return pack(type_, value + b"\0")


def _text(value: bytes) -> bytes:
    return value.split(b"\0", 1)[0]


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")
