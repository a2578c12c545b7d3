"""Many connection tracking entries at once.

Run inside the namespace that gets them: python tests/bench/flows.py COUNT
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from support import made_flows

#: Where all of them go.
DESTINATION = b"\xc6\x33\x64\x01", b"\0\x35"


def main(argv: list[str]) -> int:
    make(0, int(argv[1]))
    return 0


def make(begin: int, end: int) -> None:
    """Make the flows with these numbers."""
    made_flows.make(_requests(begin, end))


def stop(begin: int, end: int) -> None:
    """End them."""
    made_flows.make(map(made_flows.ending, _requests(begin, end)))


def make_translated(number: int, address: bytes) -> None:
    """Make so many flows whose source is translated, with ports from 1024 of `address`."""
    made_flows.make(
        made_flows.udp(_source(port), DESTINATION, (address, struct.pack(">H", port)))
        for port in range(1024, 1024 + number)
    )


def _requests(begin: int, end: int) -> Iterator[bytes]:
    return (made_flows.udp(_source(number), DESTINATION) for number in range(begin, end))


def _source(number: int) -> made_flows.End:
    """Return an address and a port of its own."""
    return struct.pack(">I", 0x0A000000 | number >> 4), struct.pack(">H", 1024 + (number & 15))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
