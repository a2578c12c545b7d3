"""IP counters: the fingerprints of a router that does not route.

Source: net/ipv4/proc.c (snmp_seq_show, netstat_seq_show) and net/ipv6/proc.c (v6.18).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from netfilter_exporter.kernel import kept_files
from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.files import Paths

#: Our names, by file, section and column.
IPV4 = {
    "net/snmp": {
        b"Ip": {
            b"ForwDatagrams": "forwarded",
            b"InAddrErrors": "in_address_errors",
            b"OutRequests": "out_requests",
            b"OutTransmits": "out_transmitted",  # since 6.7, and in 6.6.y
        }
    },
    "net/netstat": {b"TcpExt": {b"IPReversePathFilter": "reverse_path_filtered"}},
}

#: Our names, by name in /proc/net/snmp6.
IPV6 = {
    b"Ip6OutForwDatagrams": "forwarded",
    b"Ip6InAddrErrors": "in_address_errors",
    b"Ip6OutRequests": "out_requests",
    b"Ip6OutTransmits": "out_transmitted",
}


_PAIR = rb"[ \t]*\S+[ \t]+\S+[ \t]*"
_LINE = re.compile(_PAIR)
_LINES = re.compile(rb"(?:%b\n)*(?:%b)?" % (_PAIR, _PAIR))
_DIGITS = 20  # those of the largest u64


def read_ipv4(paths: Paths) -> dict[str, int]:
    """Return the IPv4 counters that this kernel has, by our names."""
    counters = {}
    for file, wanted in IPV4.items():
        path = paths.proc(file)
        counters.update(parse_sections(kept_files.read_bytes(path), wanted, path))
    return counters


def read_ipv6(paths: Paths) -> dict[str, int]:
    """Return the IPv6 counters that this kernel has, by our names; NoData without IPv6."""
    path = paths.proc("net/snmp6")
    return parse_lines(kept_files.read_bytes(path), path)


def parse_sections(
    content: bytes, wanted: Mapping[bytes, Mapping[bytes, str]], what: str
) -> dict[str, int]:
    """Parse pairs of lines, ``Section: names`` and below it ``Section: values``.

    `wanted` has our names by section and column.
    """
    lines = content.splitlines()
    if len(lines) % 2:
        raise Malformed(f"{what}: a line of names without its line of values")
    counters: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2]):
        section, _, columns = names.partition(b":")
        same, _, numbers = values.partition(b":")
        if section != same:
            raise Malformed(f"{what}: values of {same[:20]!r} below names of {section[:20]!r}")
        if section not in wanted:
            continue
        keys, cells = columns.split(), numbers.split()
        if len(keys) != len(cells):
            raise Malformed(f"{what}: {len(cells)} values below {len(keys)} names of {section!r}")
        for column, name in wanted[section].items():
            if column in keys:
                counters[name] = _number(cells[keys.index(column)], what)
    return counters


def parse_lines(content: bytes, what: str) -> dict[str, int]:
    """Parse lines of ``name value``."""
    if not _LINES.fullmatch(content):
        wrong = next(line for line in content.split(b"\n") if not _LINE.fullmatch(line))
        raise Malformed(f"{what}: not a name and a value: {wrong[:40]!r}")
    words = content.split()
    found = dict(zip(words[::2], words[1::2]))
    return {ours: _number(found[name], what) for name, ours in IPV6.items() if name in found}


def _number(cell: bytes, what: str) -> int:
    if not cell.isdigit() or len(cell) > _DIGITS:
        raise Malformed(f"{what}: not a number: {cell[:20]!r}")
    return int(cell)
