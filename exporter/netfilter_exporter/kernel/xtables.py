"""Legacy iptables and ip6tables, read with getsockopt.

Source: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h and
netfilter/x_tables.h (v6.18); the names of the tables that exist in net/netfilter/x_tables.c.
Asking for a table creates it: only one that ip_tables_names already lists is asked for.
Sizes are those of 64-bit kernels; a 32-bit process gets `Unsupported`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.errors import (
    Malformed,
    NoData,
    ReadError,
    TimedOut,
    Unsupported,
)
from netfilter_exporter.kernel.families import Backend, Family, Hook
from netfilter_exporter.kernel.files import Paths, read_bytes
from netfilter_exporter.kernel.netlink import text
from netfilter_exporter.kernel.nft_expressions import NOTHING, interface_match, xt_target
from netfilter_exporter.kernel.ruleset import Chain, Rule, Table, Verdict
from netfilter_exporter.kernel.system import Xtables

IPT_SO_GET_INFO = 64  # IP6T_SO_GET_INFO is the same
IPT_SO_GET_ENTRIES = 65

NAMES = {Family.IPV4: "net/ip_tables_names", Family.IPV6: "net/ip6_tables_names"}

#: Tables that tell something about NAT, with the type and priority of their chains.
TABLES = {"nat": ("nat", -100), "raw": ("filter", -300), "filter": ("filter", 0)}

_INFO = struct.Struct("=32sI5I5III")  # struct ipt_getinfo
_GET_ENTRIES = struct.Struct("=32sI4x")  # struct ipt_get_entries, up to its entries
_TARGET = struct.Struct("=H29sB")  # struct xt_entry_target and xt_entry_match, up to their data
_OFFSETS = struct.Struct("=HH")  # target_offset and next_offset
_VERDICT = struct.Struct("=i")

_ATTEMPTS = 4
_IFNAMSIZ = 16
_INV_VIA_IN, _INV_VIA_OUT = 0x01, 0x02  # IPT_INV_VIA_*; IP6T_INV_VIA_* are the same

VERDICTS = {
    -1: Verdict.DROP,  # -NF_DROP - 1
    -2: Verdict.ACCEPT,  # -NF_ACCEPT - 1
    -4: Verdict.QUEUE,  # -NF_QUEUE - 1
    -5: Verdict.RETURN,  # XT_RETURN
}


class Layout(NamedTuple):
    """Where things are in an entry of one family."""

    interfaces: int  #: iniface, outiface, iniface_mask, outiface_mask: 16 bytes each
    flags: int  #: invflags is behind it
    goto: int  #: IPT_F_GOTO or IP6T_F_GOTO
    header: int  #: sizeof(struct ipt_ip) or ip6t_ip6: what the entry itself compares
    offsets: int  #: target_offset and next_offset
    size: int  #: sizeof(struct ipt_entry) or ip6t_entry: the first match is there


LAYOUTS = {
    Family.IPV4: Layout(16, 82, 0x02, 84, 88, 112),
    Family.IPV6: Layout(64, 131, 0x04, 136, 140, 168),
}


class Info(NamedTuple):
    """struct ipt_getinfo; it changes with every change of the table that changes its size."""

    valid_hooks: int
    hook_entry: tuple[int, ...]
    underflow: tuple[int, ...]
    entries: int
    size: int


def read_names(paths: Paths, family: Family) -> frozenset[str]:
    """Return the tables that exist; none where ip_tables is not loaded."""
    path = paths.proc(NAMES[family])
    try:
        return frozenset(read_bytes(path).decode("ascii", "replace").split())
    except NoData:
        return frozenset()


def read_info(xtables: Xtables, table: str) -> Info:
    """Return what the kernel says about a table without handing out its rules."""
    return parse_info(bytes(xtables.get(IPT_SO_GET_INFO, table.encode(), _INFO.size)))


def parse_info(content: bytes) -> Info:
    """Parse a struct ipt_getinfo."""
    if len(content) != _INFO.size:
        raise Malformed(f"IPT_SO_GET_INFO: {len(content)} bytes instead of {_INFO.size}")
    _, valid, *numbers = _INFO.unpack(content)
    return Info(valid, tuple(numbers[:5]), tuple(numbers[5:10]), numbers[10], numbers[11])


def read_table(xtables: Xtables, family: Family, name: str) -> tuple[Info, Table]:
    """Return a table of TABLES; again where it was replaced between the two questions."""
    if struct.calcsize("P") != 8:
        raise Unsupported("legacy tables: a 32-bit process cannot read them")
    for _ in range(_ATTEMPTS):
        info = read_info(xtables, name)
        request = _GET_ENTRIES.pack(name.encode(), info.size)
        try:
            content = xtables.get(IPT_SO_GET_ENTRIES, request, len(request) + info.size)
        except TimedOut:  # EAGAIN: the size is no longer that
            continue
        return info, parse_table(content[_GET_ENTRIES.size :], info, family, name)
    raise ReadError(f"legacy {name}: replaced during each of {_ATTEMPTS} readings")


def parse_table(content: memoryview, info: Info, family: Family, name: str) -> Table:
    """Parse the entries of a table: chain after chain, each closed by a policy or a return."""
    layout = LAYOUTS[family]
    type_, priority = TABLES[name]
    entries = list(_entries(content, layout))
    headers = [entry for entry in entries if entry.target == _ERROR]
    names = {entry.end: text(content[entry.data : entry.end]) for entry in headers[:-1]}
    bases = {
        info.hook_entry[hook]: (hook, info.underflow[hook])
        for hook in Hook
        if info.valid_hooks & 1 << hook
    }
    chains: dict[str, Chain] = {}
    rules: list[Rule] = []
    hook, policy_at = Hook.PREROUTING, -1
    for entry in entries:
        if entry.start in bases:
            hook, policy_at = bases[entry.start]
            rules = []
        elif entry.start in names:
            rules = []
            chains[names[entry.start]] = Chain(rules)
        if entry.start == policy_at:
            drops = _verdict(content, entry) is Verdict.DROP
            chains[hook.name] = Chain(rules, hook, type_, priority, drops)
        elif entry.target != _ERROR:
            rules.append(_rule(content, entry, layout, names))
    whole = headers and all(chains.get(user, Chain([])).rules for user in names.values())
    if not whole or len(chains) != len(bases) + len(headers) - 1:
        raise Malformed(f"legacy {name}: a chain does not begin or end where it should")
    for chain_name in names.values():
        chains[chain_name].rules.pop()  # the return that closes a user chain
    return Table(Backend.LEGACY, frozenset({family}), name, chains, {})


class Entry(NamedTuple):
    """Where an entry is, and the name of its target."""

    start: int
    data: int  #: of the target
    end: int
    target: bytes


_ERROR = b"ERROR"


def _entries(content: memoryview, layout: Layout) -> Iterator[Entry]:
    offset, end = 0, len(content)
    while offset < end:
        if end - offset < layout.size + _TARGET.size:
            raise Malformed(f"legacy table: {end - offset} stray bytes")
        target, next_ = _OFFSETS.unpack_from(content, offset + layout.offsets)
        if not layout.size <= target <= next_ - _TARGET.size or offset + next_ > end:
            raise Malformed(f"legacy table: an entry claims {next_} of {end - offset} bytes")
        _, name, _ = _TARGET.unpack_from(content, offset + target)
        after = offset + next_
        yield Entry(offset, offset + target + _TARGET.size, after, _name(name))
        offset = after


def _name(field: bytes) -> bytes:
    """Return the name in a fixed field; old kernels (seen on 4.9) leave garbage behind the NUL."""
    return field.partition(b"\0")[0]


def _verdict(content: memoryview, entry: Entry) -> Verdict | None:
    return VERDICTS.get(_number(content, entry)) if entry.target == b"" else None


def _number(content: memoryview, entry: Entry) -> int:
    if entry.end - entry.data < _VERDICT.size:
        raise Malformed("legacy table: a verdict is cut")
    return int(_VERDICT.unpack_from(content, entry.data)[0])


def _rule(content: memoryview, entry: Entry, layout: Layout, names: Mapping[int, str]) -> Rule:
    header = content[entry.start : entry.start + layout.header]
    conditional, comment = _matches(content, entry, layout)
    goto = header[layout.flags] & layout.goto
    if not conditional:
        compared = bytearray(header)
        compared[layout.flags] &= ~layout.goto
        conditional = any(compared)
    interfaces, loopback = _interfaces(header, layout) if conditional else ((), True)
    verdict: Verdict | None = None
    targets: tuple[str, ...] = ()
    effect = NOTHING
    if entry.target:
        effect = xt_target(entry.target, content[entry.data : entry.end])
        verdict = effect.verdict
    elif (number := _number(content, entry)) < 0:
        verdict = VERDICTS.get(number)
    elif number in names:  # a rule without a target jumps to the next one
        verdict = Verdict.GOTO if goto else Verdict.JUMP
        targets = (names[number],)
    return Rule(
        conditional=conditional,
        verdict=verdict,
        targets=targets,
        action=effect.action,
        interfaces=interfaces,
        loopback=loopback,
        notrack=effect.notrack,
        zone=effect.zone,
        extension=effect.extension,
        comment="" if conditional else comment,
    )


def _matches(content: memoryview, entry: Entry, layout: Layout) -> tuple[bool, str]:
    """Tell whether the entry has a match that can fail, and return its comment."""
    offset, end = entry.start + layout.size, entry.data - _TARGET.size
    comment = ""
    while offset < end:
        if end - offset < _TARGET.size:
            raise Malformed("legacy table: a match is cut")
        size, name, _ = _TARGET.unpack_from(content, offset)
        if not _TARGET.size <= size <= end - offset:
            raise Malformed(f"legacy table: a match claims {size} of {end - offset} bytes")
        if _name(name) != b"comment":
            return True, ""
        comment = text(content[offset + _TARGET.size : offset + size])
        offset += size
    return False, comment


def _interfaces(header: memoryview, layout: Layout) -> tuple[tuple[str, ...], bool]:
    """Return the names that the entry needs, and whether loopback traffic can match it."""
    names: tuple[str, ...] = ()
    loopback = True
    inverted = header[layout.flags + 1]
    for number, flag in enumerate((_INV_VIA_IN, _INV_VIA_OUT)):
        at = layout.interfaces + number * _IFNAMSIZ
        mask = bytes(header[at + 2 * _IFNAMSIZ : at + 3 * _IFNAMSIZ]).rstrip(b"\0")
        if mask:  # it covers the name, and of an exact one the NUL behind it too
            compared = bytes(header[at : at + len(mask)])
            found, passes = interface_match(compared, positive=not inverted & flag)
            names += found
            loopback = loopback and passes
    return names, loopback
