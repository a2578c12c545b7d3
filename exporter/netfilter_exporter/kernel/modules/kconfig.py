"""The configuration that the running kernel was built with."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping

from netfilter_exporter.kernel.errors import Malformed

#: A configuration is about 300 kB.
LIMIT = 4 << 20
_GZIP = 16 + zlib.MAX_WBITS


def decompress(content: bytes, what: str) -> bytes:
    """Return what the gzip file `content` holds; a bomb is `Malformed`."""
    decoder = zlib.decompressobj(_GZIP)
    try:
        text = decoder.decompress(content, LIMIT)
    except zlib.error as error:
        raise Malformed(f"{what}: {error}") from None
    if not decoder.eof:
        raise Malformed(f"{what}: cut short, or larger than {LIMIT} bytes")
    return text


def parse_config(content: bytes, wanted: Collection[str], what: str) -> Mapping[str, str]:
    """Return y, m or n for each wanted symbol (without CONFIG_) that the configuration mentions.

    What is not mentioned does not exist in that kernel, or what it depends on is off.
    """
    names = {name.encode() for name in wanted}
    values = {}
    credible = False
    for line in content.splitlines():
        if line.startswith(b"CONFIG_"):
            name, _, value = line[7:].partition(b"=")
        elif line.startswith(b"# CONFIG_") and line.endswith(b" is not set"):
            name, value = line[9:-11], b"n"
        else:
            continue
        credible = credible or name == b"MODULES"
        if name in names and value in (b"y", b"m", b"n"):
            values[name.decode()] = value.decode()
    if not credible or not content.endswith(b"\n"):
        # Every kernel answers this one. What a part of a file does not mention is not off.
        raise Malformed(f"{what}: no kernel configuration, or only a part of one")
    return values
