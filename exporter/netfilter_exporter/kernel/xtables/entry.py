"""One entry of a legacy table, reduced to what a `Rule` keeps.

Source: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h and
netfilter/x_tables.h (v6.18).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.netlink.attributes import text
from netfilter_exporter.kernel.parser_cache import Parsed, Picker
from netfilter_exporter.kernel.rule_parts import (
    MATCH,
    UNKNOWN,
    MatchAt,
    Part,
    combine,
    interface_match,
    known,
)
from netfilter_exporter.kernel.xtables.matches import xt_match
from netfilter_exporter.kernel.xtables.targets import xt_target
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import (
    DESTINATIONS,
    SOURCES,
    Field,
    Match,
    Opaque,
    masked,
    named,
    ranged,
)
from netfilter_exporter.rules.model import Rule, Verdict

TARGET = struct.Struct("=H29sB")  # struct xt_entry_target and xt_entry_match, up to their data
OFFSETS = struct.Struct("=HH")  # target_offset and next_offset
_VERDICT = struct.Struct("=i")
_PROTOCOL = struct.Struct("=H")

_IFNAMSIZ = 16
# IPT_INV_*; IP6T_INV_* are the same
_INV_VIA_IN, _INV_VIA_OUT, _INV_SRCIP, _INV_DSTIP, _INV_PROTO = 0x01, 0x02, 0x08, 0x10, 0x40

_COUNTER = Part(Rule(counted=True))  #: every entry has one, behind its matches

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
    protocol: int  #: a u16
    checks_protocol: int  #: IP6T_F_PROTO; 0: one that is not 0 is compared
    header: int  #: sizeof(struct ipt_ip) or ip6t_ip6: what the entry itself compares
    offsets: int  #: target_offset and next_offset
    counters: int  #: struct xt_counters; up to the end of the entry itself
    size: int  #: sizeof(struct ipt_entry) or ip6t_entry: the first match is there
    family: Family


LAYOUTS = {
    Family.IPV4: Layout(16, 82, 0x02, 80, 0, 84, 88, 96, 112, Family.IPV4),
    Family.IPV6: Layout(64, 131, 0x04, 128, 0x01, 136, 140, 152, 168, Family.IPV6),
}


def parse_entry(
    entry: memoryview, layout: Layout, names: Mapping[int, str]
) -> Parsed[tuple[Rule, bytes]]:
    """Parse an entry whose offsets were checked to its rule and the bytes of its values.

    `names` are those of chains, by their start. Entries of one shape share what they do, not where
    they lead.
    """
    target = OFFSETS.unpack_from(entry, layout.offsets)[0]
    found, comment = _matches(entry, layout, target)
    data = target + TARGET.size
    name, revision = _name(entry[target:data])
    info = slice(data, len(entry))
    goal = xt_target(name, revision, entry, info, layout.family) if name else _verdict(entry, info)
    fails = any(part.effect.conditional for part in found)
    rule, values = combine([*_header(entry, layout, fails=fails), *found, _COUNTER, goal])
    parts = (*found, goal)
    ignored = [slice(layout.header, layout.offsets), slice(layout.offsets + 4, layout.size)]
    ignored += [place for part in parts for place in part.ignored] + values
    in_message = [comment] if comment is not None and not rule.conditional else []
    in_message += [] if name else [slice(data, data + _VERDICT.size)]
    picker = Picker(len(entry), values, in_message)
    unpack, values_of, picked_of = picker.unpack, picker.joined(0), picker.group(1)
    if not in_message:
        return Parsed(lambda entry: (rule, values_of(unpack(entry))), ignored)
    goes = Verdict.GOTO if entry[layout.flags] & layout.goto else Verdict.JUMP
    made: dict[tuple[bytes, ...], Rule] = {}

    def make(entry: memoryview) -> tuple[Rule, bytes]:
        parts = unpack(entry)
        picked = picked_of(parts)
        found = made.get(picked)
        if found is None:
            found = made[picked] = _with_picked(rule, picked, None if name else goes, names)
        return found, values_of(parts)

    return Parsed(make, ignored)


def parse_verdict(entry: memoryview, layout: Layout) -> Verdict | None:
    """Return the verdict of an entry that has no xt target and leads nowhere."""
    target = OFFSETS.unpack_from(entry, layout.offsets)[0]
    data = entry[target + TARGET.size :]
    return None if _name(entry[target:])[0] else VERDICTS.get(_number(data))


def _name(header: memoryview) -> tuple[bytes, int]:
    """Return name and revision in a TARGET; v4.9 leaves garbage behind the name's NUL."""
    _, name, revision = TARGET.unpack_from(header)
    return name.partition(b"\0")[0], revision


def _number(data: memoryview) -> int:
    if len(data) < _VERDICT.size:
        raise Malformed("legacy table: a verdict is cut")
    return int(_VERDICT.unpack_from(data)[0])


def _verdict(entry: memoryview, info: slice) -> Part:
    """Return what is ignored of a verdict: all but its sign, for what it says is picked later.

    Below zero it is a verdict, otherwise where a chain begins.
    """
    _number(entry[info])
    at, end = info.start, info.start + _VERDICT.size
    number = slice(at, end - 1) if sys.byteorder == "little" else slice(at + 1, end)
    return Part(ignored=(number, slice(end, info.stop)))


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


def _matches(entry: memoryview, layout: Layout, end: int) -> tuple[list[Part], slice | None]:
    """Return the parts of the matches, and where the comment of a rule without one is."""
    parts: list[Part] = []
    comment = None
    offset = layout.size
    while offset < end:
        if end - offset < TARGET.size:
            raise Malformed("legacy table: a match is cut")
        size = TARGET.unpack_from(entry, offset)[0]
        if not TARGET.size <= size <= end - offset:
            raise Malformed(f"legacy table: a match claims {size} of {end - offset} bytes")
        name, revision = _name(entry[offset:])
        info = slice(offset + TARGET.size, offset + size)
        comment = info if name == b"comment" else comment
        parts.append(xt_match(name, revision, entry, info, layout.family))
        offset += size
    return parts, comment


def _header(entry: memoryview, layout: Layout, *, fails: bool) -> Iterator[Part]:
    """Yield what the entry itself compares; `fails` where one of its matches may fail too."""
    compared = bytearray(entry[: layout.header])
    compared[layout.flags] &= ~layout.goto
    addresses = slice(0, layout.interfaces // 2)  # their masks are behind them
    others = any(compared[layout.interfaces :]) or fails
    if not others and not any(compared):
        return
    inverted = entry[layout.flags + 1]
    if others:
        constants, place = (layout.family, inverted, None), slice(0, layout.interfaces)
        yield Part(MATCH, matches=(MatchAt(_addresses, constants, (place,)),))
    elif any(compared[addresses.stop :]):
        masks = bytes(entry[addresses.stop : layout.interfaces])
        match = MatchAt(_addresses, (layout.family, inverted, masks), (addresses,))
        yield Part(MATCH, matches=(match,))
    else:  # without a mask: no packet has it
        yield UNKNOWN
    yield from _interfaces(entry, layout, inverted)
    yield from _protocol(entry, layout, inverted)


def _addresses(
    family: Family, inverted: int, masks: bytes | None, values: bytes
) -> tuple[Match, ...]:
    """Read source and destination; without `masks` theirs are behind them."""
    if masks is None:
        values, masks = values[: len(values) // 2], values[len(values) // 2 :]
    found: list[Match] = []
    size = len(values) // 2
    for at, field, flag in zip((0, size), _ADDRESSES[family], (_INV_SRCIP, _INV_DSTIP)):
        mask = int.from_bytes(masks[at : at + size], "big")
        value = int.from_bytes(values[at : at + size], "big")
        if mask or value:
            found.append(masked(field, mask, value, negated=bool(inverted & flag)))
    return tuple(found)


_ADDRESSES = {family: (SOURCES[family], DESTINATIONS[family]) for family in Family}
_INTERFACES = (Field.INPUT_INTERFACE, Field.OUTPUT_INTERFACE)


def _interfaces(entry: memoryview, layout: Layout, inverted: int) -> Iterator[Part]:
    """Yield a part for each interface that is compared."""
    for number, (field, flag) in enumerate(zip(_INTERFACES, (_INV_VIA_IN, _INV_VIA_OUT))):
        at = layout.interfaces + number * _IFNAMSIZ
        mask = bytes(entry[at + 2 * _IFNAMSIZ : at + 3 * _IFNAMSIZ]).rstrip(b"\0")
        if mask:  # it covers the name, and of an exact one the NUL behind it too
            content = bytes(entry[at : at + len(mask)])
            positive = not inverted & flag
            names, loopback = interface_match(content, positive=positive)
            effect = Rule(conditional=True, interfaces=names, loopback=loopback)
            yield Part(effect, matches=(known(_interface(field, content, mask, positive)),))


def _interface(field: Field, content: bytes, mask: bytes, positive: bool) -> Match:
    if not mask.strip(b"\xff"):
        return named(field, content, negated=not positive)
    value, bits = (int.from_bytes(x.ljust(_IFNAMSIZ, b"\0"), "big") for x in (content, mask))
    return masked(field, bits, value & bits, negated=not positive)


def _protocol(entry: memoryview, layout: Layout, inverted: int) -> Iterator[Part]:
    """Yield a part for the protocol, and one for each flag that is left."""
    (protocol,) = _PROTOCOL.unpack_from(entry, layout.protocol)
    flags = entry[layout.flags] & ~layout.goto
    if protocol and (flags & layout.checks_protocol or not layout.checks_protocol):
        negated = bool(inverted & _INV_PROTO)
        match = ranged(Field.PROTOCOL, [(protocol, protocol)], negated=negated)
        yield Part(MATCH, matches=(known(match),))
        flags &= ~layout.checks_protocol
        protocol = 0
    if flags or protocol:
        rest = bytes((flags, *entry[layout.protocol : layout.flags], inverted))
        yield Part(MATCH, matches=(known(Opaque("flags", rest, stable=True)),))
