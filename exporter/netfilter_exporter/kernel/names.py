"""Names that the kernel keeps as bytes: tables, chains, sets, interfaces, comments.

Only NUL ends such a name. Bytes that are not UTF-8 become lone surrogates, as in file names, so
that two names never become one and each can be sent back to the kernel as it came.
"""

from __future__ import annotations

import re

_SURROGATES = re.compile("[\ud800-\udfff]")
_LOOKS_ESCAPED = re.compile(r"\\x[89a-f][0-9a-f]")
_UNDECODED = range(0xDC80, 0xDD00)  #: what bytes.decode("surrogateescape") makes of 0x80 to 0xff


def decode(raw: bytes) -> str:
    """Return the name in `raw`, up to the first NUL."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


class Names(dict[bytes, str]):
    """Names by their bytes, as `decode` returns them; one that is seen again is the same object."""

    def __missing__(self, raw: bytes) -> str:
        name = self[raw] = decode(raw)
        return name


def encode(name: str) -> bytes:
    """Return the bytes of a name as `decode` took them, without a NUL."""
    return name.encode("utf-8", "surrogateescape")


def is_text(name: str) -> bool:
    """Return whether the bytes of a name are UTF-8."""
    return not _SURROGATES.search(name)


def label(name: str) -> str:
    """Return a name as the page has it: UTF-8, and never the same for two names.

    Bytes that are no UTF-8 become escapes. A backslash is doubled, but only in a name that has such
    bytes, or looks as if they had been escaped already.
    """
    if is_text(name) and not _LOOKS_ESCAPED.search(name):
        return name
    return _SURROGATES.sub(lambda found: _escape(ord(found[0])), name.replace("\\", "\\\\"))


def printable(text: str) -> str:
    """Return `text` without what a terminal would obey or cannot show: that becomes an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    if code in _UNDECODED:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
