"""Legacy iptables and ip6tables, read with getsockopt.

Source: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h and
netfilter/x_tables.h (v6.18); the names of the tables that exist in net/netfilter/x_tables.c.
Reading a table creates it: only one that ip_tables_names already lists is read.
Sizes are those of 64-bit kernels; a 32-bit process gets `Unsupported`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import kept_files
from netfilter_exporter.kernel.errors import (
    Malformed,
    NoData,
    ReadError,
    TimedOut,
    Unsupported,
)
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.modules.lists import is_going
from netfilter_exporter.kernel.netlink.attributes import text
from netfilter_exporter.kernel.parser_cache import parser_cache, unpacker_of_others
from netfilter_exporter.kernel.xtables.entry import (
    LAYOUTS,
    OFFSETS,
    TARGET,
    Layout,
    parse_entry,
    parse_verdict,
)
from netfilter_exporter.kernel.xtables.transport import Xtables, release
from netfilter_exporter.rules.families import Backend, Family, Hook
from netfilter_exporter.rules.model import Chain, Rule, Table, Verdict

IPT_SO_GET_INFO = 64  # IP6T_SO_GET_INFO is the same
IPT_SO_GET_ENTRIES = 65

NAMES = {Family.IPV4: "net/ip_tables_names", Family.IPV6: "net/ip6_tables_names"}
#: What the name of a table's module begins with.
MODULES = {Family.IPV4: "iptable_", Family.IPV6: "ip6table_"}

#: Tables that say something about NAT, or about what is forwarded, with the type and priority of
#: their chains.
TABLES = {
    "nat": ("nat", -100),
    "raw": ("filter", -300),
    "mangle": ("filter", -150),
    "filter": ("filter", 0),
}

_INFO = struct.Struct("=32sI5I5III")  # struct ipt_getinfo
_GET_ENTRIES = struct.Struct("=32sI4x")  # struct ipt_get_entries, up to its entries
_ATTEMPTS = 4
#: Bytes of entries after which the memory of those that were parsed is given back.
_RELEASED = 1 << 20


class Info(NamedTuple):
    """struct ipt_getinfo; it changes with every change of the table that changes its size."""

    valid_hooks: int
    hook_entry: tuple[int, ...]
    underflow: tuple[int, ...]
    entries: int
    size: int

    @property
    def has_rules(self) -> bool:
        """Whether there is more than a policy for each hook and the entry that ends the table."""
        return self.entries > bin(self.valid_hooks).count("1") + 1


def read_names(paths: Paths, family: Family) -> frozenset[str]:
    """Return the tables that exist, and stay; none where ip_tables is not loaded."""
    try:
        return staying(parse_names(kept_files.read_bytes(paths.proc(NAMES[family]))), paths, family)
    except NoData:
        return frozenset()


def parse_names(content: bytes) -> frozenset[str]:
    """Return the tables of which ip_tables_names has the names."""
    return frozenset(content.decode("ascii", "replace").split())


def staying(names: frozenset[str], paths: Paths, family: Family) -> frozenset[str]:
    """Return those of the tables whose module is not being unloaded.

    A table is listed until its module is gone, which waits for RCU. Until then a reading of the
    table waits, too, and has the module loaded again (xt_request_find_table_lock in
    net/netfilter/x_tables.c, add_unformed_module in kernel/module.c, v5.10).
    """
    return frozenset(name for name in names if not is_going(paths, MODULES[family] + name))


def read_info(xtables: Xtables, table: str) -> Info:
    """Return what the kernel says about a table without handing out its rules."""
    return parse_info(bytes(xtables.get(IPT_SO_GET_INFO, table.encode(), _INFO.size)))


def parse_info(content: bytes) -> Info:
    """Parse a struct ipt_getinfo."""
    if len(content) != _INFO.size:
        raise Malformed(f"IPT_SO_GET_INFO: {len(content)} bytes instead of {_INFO.size}")
    _, valid, *numbers = _INFO.unpack(content)
    return Info(valid, tuple(numbers[:5]), tuple(numbers[5:10]), numbers[10], numbers[11])


def read_entries(xtables: Xtables, table: str) -> tuple[Info, memoryview]:
    """Return a table of TABLES unparsed; again where it was replaced between the two questions."""
    if struct.calcsize("P") != 8:
        raise Unsupported("legacy tables: a 32-bit process cannot read them")
    for _ in range(_ATTEMPTS):
        info = read_info(xtables, table)
        request = _GET_ENTRIES.pack(table.encode(), info.size)
        try:
            content = xtables.get(IPT_SO_GET_ENTRIES, request, len(request) + info.size)
        except TimedOut:  # EAGAIN: the size is no longer that
            continue
        return info, content[_GET_ENTRIES.size :]
    raise ReadError(f"legacy {table}: replaced during each of {_ATTEMPTS} readings")


def recogniser(content: memoryview, family: Family) -> Callable[[memoryview], bool]:
    """Return what decides whether entries of the same size are these, but for their counters.

    Where the first entries are the same, so is where the next one begins.
    """
    layout = LAYOUTS[family]
    counters = [
        slice(start + layout.counters, start + layout.size)
        for start, *_ in _entries(content, layout)
    ]
    unpack = unpacker_of_others(len(content), counters)
    others = unpack(content)
    return lambda entries: unpack(entries) == others


def parse_table(content: memoryview, info: Info, family: Family, name: str) -> Table:
    """Parse the entries of a table: chain after chain, each closed by a policy or a return.

    The kernel hands out all of them at once, at times 600 bytes a rule. So the memory of a large
    table is given back bit by bit, while that of its rules grows: `content` has no further use.
    """
    layout = LAYOUTS[family]
    type_, priority = TABLES[name]
    # Gone over twice: to keep the places of all entries takes as much memory as their rules.
    headers = (each for each in _entries(content, layout) if each[3])
    names = {end: text(content[data:end]) for _, data, end, _ in headers}
    if not names:
        raise Malformed(f"legacy {name}: a table without the entry that ends it")
    names.popitem()  # that entry
    parse = parser_cache(functools.partial(parse_entry, layout=layout, names=names))
    bases = {
        info.hook_entry[hook]: (hook, info.underflow[hook])
        for hook in Hook
        if info.valid_hooks & 1 << hook
    }
    chains: dict[str, Chain] = {}
    rules: list[Rule] = []
    values: list[bytes] = []
    hook, policy_at, user = Hook.PREROUTING, -1, ""
    for start, end, is_header in _releasing(content, layout):
        if start in bases:
            hook, policy_at = bases[start]
        user = names.get(start, "" if start in bases else user)
        if start in bases or start in names:
            rules, values = [], []
        if start == policy_at:
            drops = parse_verdict(content[start:end], layout) is Verdict.DROP
            chains[hook.name] = Chain(rules, hook, type_, priority, drops, b"".join(values))
        elif not is_header:
            rule, own = parse(content[start:end])
            rules.append(rule)
            values.append(own)
        elif user:
            chains[user] = Chain(rules, values=b"".join(values))
    whole = all(chains.get(user, Chain([])).rules for user in names.values())
    if not whole or len(chains) != len(bases) + len(names):
        raise Malformed(f"legacy {name}: a chain does not begin or end where it should")
    for chain_name in names.values():
        chains[chain_name].rules.pop()  # the return that closes a user chain
    return Table(Backend.LEGACY, frozenset({family}), name, chains, {})


def chains_of(content: memoryview, info: Info, family: Family) -> dict[str, list[tuple[int, int]]]:
    """Return where each entry of each chain starts and ends: its rules, and what closes it."""
    found: dict[str, list[tuple[int, int]]] = {}
    hooks = [hook for hook in Hook if info.valid_hooks & 1 << hook]
    bases = {info.hook_entry[hook]: hook.name for hook in hooks}
    chain: list[tuple[int, int]] = []
    for start, data, end, is_header in _entries(content, LAYOUTS[family]):
        if start in bases:
            chain = found[bases[start]] = []
        if is_header:
            chain = found[text(content[data:end])] = []
        else:
            chain.append((start, end))
    return found


def _releasing(content: memoryview, layout: Layout) -> Iterator[tuple[int, int, bool]]:
    """Yield start and end of each entry, and if it is a header; give back the memory behind it."""
    kept_from = 0
    for start, _, end, is_header in _entries(content, layout):
        if start - kept_from >= _RELEASED:
            release(content, start)
            kept_from = start
        yield start, end, is_header


_ERROR = b"ERROR\0"  #: the target of the entry before a user chain, and of the last one


def _entries(content: memoryview, layout: Layout) -> Iterator[tuple[int, int, int, bool]]:
    """Yield for each entry its start, that of its target's data, its end, and if it is a header."""
    offset, end = 0, len(content)
    smallest = layout.size + TARGET.size
    while offset < end:
        if end - offset < smallest:
            raise Malformed(f"legacy table: {end - offset} stray bytes")
        target, next_ = OFFSETS.unpack_from(content, offset + layout.offsets)
        if not layout.size <= target <= next_ - TARGET.size or offset + next_ > end:
            raise Malformed(f"legacy table: an entry claims {next_} of {end - offset} bytes")
        name = offset + target + 2
        is_header = content[name : name + len(_ERROR)] == _ERROR
        yield offset, offset + target + TARGET.size, offset + next_, is_header
        offset += next_
