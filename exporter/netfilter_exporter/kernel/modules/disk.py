"""The files of modules: which of those that modules.dep names are absent, and which are unsigned.

modprobe opens the very path that modules.dep gives, compressed or not. Source:
``module_sig_check`` in kernel/module/signing.c, include/linux/module_signature.h and
security/lockdown/lockdown.c (v6.18).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.files import Paths, exists, read_bytes

#: MODULE_SIG_STRING, at the very end of a signed module.
_SIGNED = b"~Module signature appended~\n"
_ENFORCED = "module/module/parameters/sig_enforce"
_LOCKDOWN = "kernel/security/lockdown"
#: The largest module of a distribution has 8 MB; a larger one counts as signed.
_LIMIT = 32 << 20
_GZIP = 16 + zlib.MAX_WBITS


class ModuleFiles(NamedTuple):
    """What the disk lacks of the modules that modules.dep names."""

    missing: frozenset[str] = frozenset()  #: no file at the path
    unsigned: frozenset[str] = frozenset()  #: without a signature, where the kernel demands one


NO_FILES = ModuleFiles()  #: nothing is known of files, and none is missing


def read_files(paths: Mapping[str, str], *, signatures: bool) -> ModuleFiles:
    """Check the file of each module of `paths`; its signature only where the kernel does."""
    missing = frozenset(name for name, path in paths.items() if _is_missing(path))
    if not signatures:
        return ModuleFiles(missing)
    unsigned = {name for name in paths.keys() - missing if not is_signed(paths[name])}
    return ModuleFiles(missing, frozenset(unsigned))


def _is_missing(path: str) -> bool:
    try:
        return not exists(path)
    except ReadError:
        return False  # unknown


def is_signed(path: str) -> bool:
    """Return whether a module ends with a signature; True where it cannot be read or unpacked."""
    try:
        content = read_bytes(path, _LIMIT)
        unpack = _UNPACK.get(os.path.splitext(path)[1])
        return (unpack(content) if unpack else content).endswith(_SIGNED)
    except (ReadError, _UnpackError):
        return True


class _UnpackError(Exception):
    """The file is not what its name says, or is too large."""


def _gunzip(content: bytes) -> bytes:
    decoder = zlib.decompressobj(_GZIP)
    try:
        text = decoder.decompress(content, _LIMIT)
    except zlib.error as error:
        raise _UnpackError from error
    return _whole(text, done=decoder.eof)


def _unxz(content: bytes) -> bytes:
    import lzma  # noqa: PLC0415 - 3 ms of every start, for kernels that demand signatures

    decoder = lzma.LZMADecompressor()
    try:
        text = decoder.decompress(content, _LIMIT)
    except lzma.LZMAError as error:
        raise _UnpackError from error
    return _whole(text, done=decoder.eof)


def _whole(text: bytes, *, done: bool) -> bytes:
    if not done:
        raise _UnpackError
    return text


def _refuse(_: bytes) -> bytes:
    raise _UnpackError  # Python before 3.14 has no zstd


_UNPACK: Mapping[str, Callable[[bytes], bytes]] = {".gz": _gunzip, ".xz": _unxz, ".zst": _refuse}


def read_signatures(paths: Paths) -> bool | None:
    """Return whether the kernel refuses unsigned modules; None where that is unknown.

    Without CONFIG_MODULE_SIG there is no parameter, and nothing is checked.
    """
    try:
        if read_bytes(paths.sys(_ENFORCED)).strip() == b"Y":
            return True
    except NoData:
        return False
    except ReadError:
        return None
    try:
        lockdown = read_bytes(paths.sys(_LOCKDOWN))
    except ReadError:
        return None if _is_hidden(paths) else False
    return b"[none]" not in lockdown


def _is_hidden(paths: Paths) -> bool:
    """Return whether securityfs, which has the state of lockdown, is not mounted."""
    try:
        return not os.listdir(paths.sys("kernel/security"))
    except OSError:
        return True
