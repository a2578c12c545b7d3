"""One entry of a legacy table, reduced to what a `Rule` keeps.

Source: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h and
netfilter/x_tables.h (v6.18).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.netlink.attributes import text
from netfilter_exporter.kernel.nft.expressions import NOTHING, Effect, interface_match, xt_target
from netfilter_exporter.kernel.parser_cache import Parsed, unpacker
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Rule, Verdict

TARGET = struct.Struct("=H29sB")  # struct xt_entry_target and xt_entry_match, up to their data
OFFSETS = struct.Struct("=HH")  # target_offset and next_offset
_VERDICT = struct.Struct("=i")
_XT_CT_READ = 4  # what xt_target() reads of a CT target

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
    counters: int  #: struct xt_counters; up to the end of the entry itself
    size: int  #: sizeof(struct ipt_entry) or ip6t_entry: the first match is there


LAYOUTS = {
    Family.IPV4: Layout(16, 82, 0x02, 84, 88, 96, 112),
    Family.IPV6: Layout(64, 131, 0x04, 136, 140, 152, 168),
}


def parse_entry(entry: memoryview, layout: Layout, names: Mapping[int, str]) -> Parsed[Rule]:
    """Parse an entry whose offsets were checked; `names` are those of chains, by their start.

    Entries of one shape share what they do, not where they lead.
    """
    target = OFFSETS.unpack_from(entry, layout.offsets)[0]
    data = target + TARGET.size
    name = _name(entry[target:data])
    match, comment = _matches(entry, layout.size, target)
    ignored = [slice(layout.header, layout.offsets), slice(layout.offsets + 4, layout.size)]
    if match is not None:  # what else is compared makes no difference
        ignored += [slice(layout.interfaces), slice(match, target)]
        conditional = True
    else:
        conditional = _compares(entry, layout, ignored)
    in_message = []
    if comment is not None:
        ignored.append(comment)
        if not conditional:
            in_message.append(comment)
    effect = _effect(name, entry[data:], ignored, data)
    interfaces, loopback = _interfaces(entry, layout) if conditional else ((), True)
    rule = Rule(
        conditional=conditional,
        verdict=effect.verdict,
        action=effect.action,
        interfaces=interfaces,
        loopback=loopback,
        notrack=effect.notrack,
        zone=effect.zone,
        extension=effect.extension,
    )
    if not name:
        in_message.append(slice(data, data + _VERDICT.size))
    if not in_message:
        return Parsed(lambda _: rule, ignored)
    goes = Verdict.GOTO if entry[layout.flags] & layout.goto else Verdict.JUMP
    pick = unpacker(len(entry), in_message)
    made: dict[tuple[bytes, ...], Rule] = {}

    def make(entry: memoryview) -> Rule:
        picked = pick(entry)
        if picked not in made:
            made[picked] = _with_picked(rule, picked, goes if not name else None, names)
        return made[picked]

    return Parsed(make, ignored)


def parse_verdict(entry: memoryview, layout: Layout) -> Verdict | None:
    """Return the verdict of an entry that has no xt target and leads nowhere."""
    target = OFFSETS.unpack_from(entry, layout.offsets)[0]
    data = entry[target + TARGET.size :]
    return None if _name(entry[target:]) else VERDICTS.get(_number(data))


def _name(header: memoryview) -> bytes:
    """Return the name in a TARGET; old kernels (seen on 4.9) leave garbage behind its NUL."""
    return bytes(TARGET.unpack_from(header)[1]).partition(b"\0")[0]


def _number(data: memoryview) -> int:
    if len(data) < _VERDICT.size:
        raise Malformed("legacy table: a verdict is cut")
    return int(_VERDICT.unpack_from(data)[0])


def _effect(name: bytes, data: memoryview, ignored: list[slice], at: int) -> Effect:
    """Return what the target does, and add what is not read of its data, `at` the entry's end."""
    if name:
        ignored.append(slice(at + (_XT_CT_READ if name == b"CT" else 0), None))
        return xt_target(name, data)
    _number(data)
    ignored.append(slice(at + _VERDICT.size, None))
    # The sign is read: below zero it is a verdict, else where a chain begins.
    ignored.append(slice(at, at + 3) if sys.byteorder == "little" else slice(at + 1, at + 4))
    return NOTHING


def _with_picked(
    rule: Rule, picked: tuple[bytes, ...], goes: Verdict | None, names: Mapping[int, str]
) -> Rule:
    """Return `rule` with what is in the entry itself: a comment, and a number for a verdict."""
    *comments, number = picked if goes else (*picked, b"")
    if comments:
        rule = rule._replace(comment=text(comments[0]))
    if not goes:
        return rule
    where = _VERDICT.unpack(number)[0]
    if where < 0:
        return rule._replace(verdict=VERDICTS.get(where))
    if where in names:  # a rule without a target jumps to the next one
        return rule._replace(verdict=goes, targets=(names[where],))
    return rule


def _matches(entry: memoryview, start: int, end: int) -> tuple[int | None, slice | None]:
    """Return where the data of the first match that can fail begin, and where a comment is."""
    offset = start
    comment = None
    while offset < end:
        if end - offset < TARGET.size:
            raise Malformed("legacy table: a match is cut")
        size = TARGET.unpack_from(entry, offset)[0]
        if not TARGET.size <= size <= end - offset:
            raise Malformed(f"legacy table: a match claims {size} of {end - offset} bytes")
        if _name(entry[offset:]) != b"comment":
            return offset + TARGET.size, comment
        comment = slice(offset + TARGET.size, offset + size)
        offset += size
    return None, comment


def _compares(entry: memoryview, layout: Layout, ignored: list[slice]) -> bool:
    """Tell whether the entry compares anything itself; addresses are `ignored` if more is."""
    compared = bytearray(entry[: layout.header])
    compared[layout.flags] &= ~layout.goto
    addresses = layout.interfaces // 2  # their masks are behind them
    if any(compared[addresses:]):
        ignored.append(slice(addresses))
        return True
    return any(compared)


def _interfaces(entry: memoryview, layout: Layout) -> tuple[tuple[str, ...], bool]:
    """Return the names that the entry needs, and whether loopback traffic can match it."""
    names: tuple[str, ...] = ()
    loopback = True
    inverted = entry[layout.flags + 1]
    for number, flag in enumerate((_INV_VIA_IN, _INV_VIA_OUT)):
        at = layout.interfaces + number * _IFNAMSIZ
        mask = bytes(entry[at + 2 * _IFNAMSIZ : at + 3 * _IFNAMSIZ]).rstrip(b"\0")
        if mask:  # it covers the name, and of an exact one the NUL behind it too
            compared = bytes(entry[at : at + len(mask)])
            found, passes = interface_match(compared, positive=not inverted & flag)
            names += found
            loopback = loopback and passes
    return names, loopback
