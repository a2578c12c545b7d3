"""Samples into a Prometheus by remote write: protobuf, in Snappy's block format.

The messages are those of prompb/remote.proto and prompb/types.proto (Prometheus 2.42). The block is
made of literals alone, which needs no compression.
"""

from __future__ import annotations

import struct
import urllib.request
from collections.abc import Iterable, Mapping, Sequence

_LITERAL = 65_536  #: bytes in one


def encoded_labels(labels: Mapping[str, str]) -> bytes:
    """Return the labels of a series as fields of a TimeSeries, sorted as Prometheus wants them."""
    return b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode()))
        for name, value in sorted(labels.items())
    )


def encoded_samples(samples: Iterable[tuple[int, float]]) -> bytes:
    """Return samples, each (milliseconds, value), as fields of a TimeSeries."""
    return b"".join(
        _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(time))
        for time, value in samples
    )


def series(labels: bytes, samples: bytes) -> bytes:
    """Return a TimeSeries of what is encoded as a field of a WriteRequest."""
    return _field(1, labels + samples)


def send(url: str, found: Sequence[bytes]) -> None:
    """POST series to a Prometheus; raises OSError where it refuses them."""
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    request = urllib.request.Request(url, _block(b"".join(found)), headers)
    with urllib.request.urlopen(request, timeout=300):
        pass


def _block(content: bytes) -> bytes:
    parts = [_varint(len(content))]
    for start in range(0, len(content), _LITERAL):
        literal = content[start : start + _LITERAL]
        # The length of a literal of up to 64 KiB stands in the two bytes behind its tag.
        parts += [b"\xf4", struct.pack("<H", len(literal) - 1), literal]
    return b"".join(parts)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
