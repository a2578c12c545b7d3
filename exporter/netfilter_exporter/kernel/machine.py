"""Which machine this is, without its identity.

Source: /etc/machine-id, 32 hexadecimal digits, as machine-id(5) of systemd 252 describes it. It is
confidential: only a keyed hash of it may leave the machine, as sd_id128_get_machine_app_specific()
makes one.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from netfilter_exporter.kernel.container import shows_host
from netfilter_exporter.kernel.errors import Malformed, NoData
from netfilter_exporter.kernel.files import Paths, read_head

_FILE = "/etc/machine-id"
_SIZE = 64  #: bytes: more than an identity and its line break
_APPLICATION = b"netfilter_exporter"
_DIGITS = 16  #: of the hash: two of a million machines are alike once in 30 million fleets


def read_machine(paths: Paths) -> str:
    """Return a keyed hash of the machine's identity, the same after each boot.

    Raises NoData where a container shows another machine's file, or the first boot has not written
    it yet, Malformed where it is no identity, and other `ReadError`s where it cannot be read.
    """
    path = paths.root(_FILE)
    if not shows_host(paths, _FILE):
        raise NoData(f"{path}: not the host's")
    return parse_machine(read_head(path, _SIZE), path)


def parse_machine(content: bytes, what: str) -> str:
    """Return the hash of the identity in `content`."""
    identity = content.strip()
    if identity in {b"", b"uninitialized"}:
        raise NoData(f"{what}: no identity yet")
    if not re.fullmatch(rb"[0-9a-f]{32}", identity):
        raise Malformed(f"{what}: not an identity; expected 32 hexadecimal digits")
    digest = hmac.new(bytes.fromhex(identity.decode()), _APPLICATION, hashlib.sha256)
    return digest.hexdigest()[:_DIGITS]
