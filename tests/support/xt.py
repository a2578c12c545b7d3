"""Legacy tables as the kernel hands them out (include/uapi/linux/netfilter_ipv4/ip_tables.h)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

from netfilter_exporter.kernel.xtables.entry import LAYOUTS
from netfilter_exporter.kernel.xtables.tables import IPT_SO_GET_ENTRIES, Info
from netfilter_exporter.rules.families import Family

ACCEPT, DROP, RETURN = -2, -1, -5
#: Valid hooks of a table, by number.
HOOKS = {"nat": (0, 1, 3, 4), "raw": (0, 3), "filter": (1, 2, 3)}

Target = Union[str, int, bytes, None]  #: a chain, a verdict, an xt target with its data, or none


class Rule(NamedTuple):
    """A rule as iptables writes it."""

    target: Target = None
    goto: bool = False
    matches: Sequence[tuple[str, bytes]] = ()
    in_: str = ""
    out: str = ""
    not_out: str = ""
    protocol: int = 0
    xt: str = ""  #: the name of an xt target whose data is `target`
    packets: int = 0  #: that it has counted


def table(
    family: Family,
    name: str = "nat",
    base: Mapping[int, Sequence[Rule]] | None = None,
    user: Mapping[str, Sequence[Rule]] | None = None,
    policy: int = ACCEPT,
) -> tuple[Info, bytes]:
    """Return the numbers and the entries of a table; base chains by hook."""
    starts: dict[str, int] = {}
    blob = b""
    for real in (False, True):  # the first round only finds out where chains begin
        blob = b""
        hooks, underflows = [0] * 5, [0] * 5
        entries = 1 + len(HOOKS[name]) + 2 * len(user or ())
        entries += sum(len(rules) for rules in [*(base or {}).values(), *(user or {}).values()])
        for hook in HOOKS[name]:
            hooks[hook] = len(blob)
            for rule in (base or {}).get(hook, ()):
                blob += entry(family, rule, len(blob), starts if real else None)
            underflows[hook] = len(blob)
            blob += entry(family, Rule(policy), len(blob), starts)
        for chain, rules in (user or {}).items():
            blob += entry(family, Rule(chain.encode().ljust(32, b"\0"), xt="ERROR"), 0, starts)
            starts[chain] = len(blob)
            for rule in rules:
                blob += entry(family, rule, len(blob), starts if real else None)
            blob += entry(family, Rule(RETURN), len(blob), starts)
        blob += entry(family, Rule(b"ERROR".ljust(32, b"\0"), xt="ERROR"), 0, starts)
    valid = sum(1 << hook for hook in HOOKS[name])
    return Info(valid, tuple(hooks), tuple(underflows), entries, len(blob)), blob


def entry(
    family: Family, rule: Rule, start: int = 0, starts: Mapping[str, int] | None = None
) -> bytes:
    """Return one entry, which stands at `start` of its table; `starts` has those of chains."""
    layout = LAYOUTS[family]
    header = bytearray(layout.size)
    out = rule.out or rule.not_out
    for at, interface in enumerate((rule.in_, out)):
        mask = b"\xff" * (len(interface) - 1 if interface.endswith("+") else len(interface) + 1)
        offset = layout.interfaces + 16 * at
        header[offset : offset + 16] = interface.encode().ljust(16, b"\0")
        header[offset + 32 : offset + 48] = (mask if interface else b"").ljust(16, b"\0")
    header[layout.flags] = layout.goto if rule.goto else 0
    header[layout.flags + 1] = 2 if rule.not_out else 0  # IPT_INV_VIA_OUT
    protocol = 80 if family is Family.IPV4 else 128
    header[protocol : protocol + 2] = struct.pack("=H", rule.protocol)
    struct.pack_into("=Q", header, layout.counters, rule.packets)
    body = b"".join(_sized(name.encode(), data) for name, data in rule.matches)
    target_at = layout.size + len(body)
    if isinstance(rule.target, bytes):
        target = _sized(rule.xt.encode(), rule.target)
    else:
        number = rule.target
        if number is None:
            number = start + target_at + 40
        elif isinstance(number, str):
            number = starts[number] if starts else 0
        target = _sized(b"", struct.pack("=i4x", number))
    struct.pack_into("=HH", header, layout.offsets, target_at, target_at + len(target))
    return bytes(header) + body + target


def _sized(name: bytes, data: bytes) -> bytes:
    """Return a struct xt_entry_match or xt_entry_target, aligned to eight bytes."""
    data = data.ljust((len(data) + 7) & ~7, b"\0")
    return struct.pack("=H29sB", 32 + len(data), name, 0) + data


def answer(name: str, info: Info, blob: bytes, request: bytes, option: int) -> bytes:
    """Return what getsockopt fills in for IPT_SO_GET_INFO, or else for IPT_SO_GET_ENTRIES."""
    if option == IPT_SO_GET_ENTRIES:
        return request + blob
    numbers = (info.valid_hooks, *info.hook_entry, *info.underflow, info.entries, info.size)
    return struct.pack("=32s13I", name.encode(), *numbers)
