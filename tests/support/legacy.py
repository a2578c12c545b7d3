"""Legacy tables of IPv4 with names that iptables would not make, changed and read without it.

Source: struct ipt_entry and struct ipt_replace, include/uapi/linux/netfilter_ipv4/ip_tables.h. What
is called in a process inside a namespace: see support.inside.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess
from collections.abc import Iterator

from netfilter_exporter.kernel.xtables.tables import Info, read_entries
from netfilter_exporter.kernel.xtables.transport import XtablesSocket
from netfilter_exporter.rules.families import Family, Hook

IPT_SO_SET_REPLACE = 64
_COUNTER = 16  #: bytes of a struct xt_counters
_NAME = 30  #: bytes of a name in struct xt_error_target
_OFFSETS, _COMEFROM, _ENTRY, _TARGET = 88, 92, 112, 32


def _read() -> tuple[Info, bytes]:
    opened = XtablesSocket(Family.IPV4)
    try:
        info, content = read_entries(opened, "nat")
    finally:
        opened.close()
    return info, bytes(content)


def rename_chain(old: bytes, new: bytes) -> None:
    """Give a chain of the table nat another name, whatever bytes that has."""
    info, content = _read()
    place = old.ljust(_NAME, b"\0")
    if content.count(place) != 1:
        raise ValueError(f"not exactly one chain {old!r}")
    counters = ctypes.create_string_buffer(_COUNTER * info.entries)
    header = struct.pack(
        "=32s13IIQ",
        b"nat",
        info.valid_hooks,
        info.entries,
        info.size,
        *info.hook_entry,
        *info.underflow,
        info.entries,
        ctypes.addressof(counters),
    )
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        changed = content.replace(place, new.ljust(_NAME, b"\0"))
        raw.setsockopt(socket.IPPROTO_IP, IPT_SO_SET_REPLACE, header + changed)


def rules() -> dict[bytes, list[bytes]]:
    """Return the rules of each chain of the table nat, without counters, jumps by name."""
    info, content = _read()
    starts = {info.hook_entry[hook]: hook.name.encode() for hook in Hook if _has(info, hook)}
    entries = list(_entries(content))
    for _, end, target in entries:
        if _name(content[target:end]) == b"ERROR":
            starts[end] = content[target + _TARGET : end].split(b"\0", 1)[0]
    found: dict[bytes, list[bytes]] = {}
    chain = b""
    for start, end, target in entries:
        chain = starts.get(start, chain)
        if _name(content[target:end]) != b"ERROR":
            found.setdefault(chain, []).append(_rule(content[start:end], target - start, starts))
    return found


def _has(info: Info, hook: Hook) -> bool:
    return bool(info.valid_hooks & 1 << hook)


def _entries(content: bytes) -> Iterator[tuple[int, int, int]]:
    start = 0
    while start < len(content):
        target, length = struct.unpack_from("=HH", content, start + _OFFSETS)
        yield start, start + length, start + target
        start += length


def _name(target: bytes) -> bytes:
    return target[2:31].split(b"\0", 1)[0]


def _rule(entry: bytes, target: int, starts: dict[int, bytes]) -> bytes:
    goes = b""
    if not _name(entry[target:]):
        (verdict,) = struct.unpack_from("=i", entry, target + _TARGET)
        goes = starts.get(verdict, str(verdict).encode())
        entry = entry[: target + _TARGET]
    return entry[:_COMEFROM] + entry[_ENTRY:] + goes


def masquerade(interface: bytes) -> None:
    """Add a rule for what leaves through an interface."""
    command = [b"iptables-legacy", b"-t", b"nat", b"-A", b"POSTROUTING"]
    subprocess.run([*command, b"-o", interface, b"-j", b"MASQUERADE"], check=True)
