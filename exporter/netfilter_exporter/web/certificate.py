"""The names in a client's certificate: RFC 5280, 4.2.1.6.

Read from its DER, which OpenSSL has verified. ssl's getpeercert() raises at names that are not
UTF-8 and gives tuples for directory names: one odd name would hide all others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

_SUBJECT_ALT_NAME = b"\x55\x1d\x11"
_OBJECT_IDENTIFIER, _OCTET_STRING, _EXTENSIONS = 0x06, 0x04, 0xA3
_EMAIL, _DNS, _URI, _ADDRESS = 0x81, 0x82, 0x86, 0x87


def alternative_names(certificate: bytes) -> frozenset[str]:
    """Return the DNS names, e-mail addresses, URIs and IP addresses of a certificate in DER.

    Other kinds, and names that are not ASCII, are passed over. What is no certificate has none.
    """
    try:
        return frozenset(
            name for tag, content in _names(certificate) if (name := _name(tag, content))
        )
    except IndexError:
        return frozenset()


def canonical(name: str) -> str:
    """Return an IP address in its one short form, and any other name as it is."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _name(tag: int, content: bytes) -> str | None:
    if tag in {_EMAIL, _DNS, _URI}:
        return content.decode("ascii") if content.isascii() else None
    if tag == _ADDRESS and len(content) in {4, 16}:
        return str(ipaddress.ip_address(content))
    return None


def _names(certificate: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each general name."""
    for extension in _extensions(certificate):
        parts = dict(_elements(extension))
        if parts.get(_OBJECT_IDENTIFIER) == _SUBJECT_ALT_NAME:
            for _, names in _elements(parts.get(_OCTET_STRING, b"")):
                yield from _elements(names)


def _extensions(certificate: bytes) -> Iterator[bytes]:
    for _, signed in _elements(certificate):
        _, to_be_signed = next(_elements(signed), (0, b""))
        for tag, content in _elements(to_be_signed):
            if tag == _EXTENSIONS:
                for _, extensions in _elements(content):
                    for _, extension in _elements(extensions):
                        yield extension


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER element; raises IndexError where one is cut off."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            octets = length & 0x7F
            length, at = int.from_bytes(data[at : at + octets], "big"), at + octets
        if at + length > len(data):
            raise IndexError
        yield tag, data[at : at + length]
        at += length
