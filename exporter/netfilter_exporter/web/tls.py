"""From the section tls_server_config to an SSLContext, and what a client's certificate says."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from netfilter_exporter.config.yaml_reader import ConfigError
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.files import read_regular
from netfilter_exporter.web.certificate import alternative_names, canonical
from netfilter_exporter.web.tls_config import (
    CIPHER_SUITES,
    ClientAuth,
    Curve,
    Pem,
    Tls,
    Version,
)

_VERIFY = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}
_VERSIONS = {Version.TLS12: ssl.TLSVersion.TLSv1_2, Version.TLS13: ssl.TLSVersion.TLSv1_3}

#: OpenSSL's names.
_CURVES = {
    Curve.P256: "prime256v1",
    Curve.P384: "secp384r1",
    Curve.P521: "secp521r1",
    Curve.X25519: "X25519",
}

_REASONS = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
    "EE_KEY_TOO_SMALL": "the key is too small for OpenSSL's security level",
    "CA_MD_TOO_WEAK": "signed with a digest too weak for OpenSSL's security level",
}


class TlsSide(NamedTuple):
    """What a new connection is opened with."""

    context: ssl.SSLContext
    allowed_sans: frozenset[str] = frozenset()  #: of clients; empty where any will do

    def admits(self, certificate: bytes | None) -> bool:
        """Return whether a client may stay; `certificate` is its verified one, in DER."""
        if not self.allowed_sans:
            return True
        return not self.allowed_sans.isdisjoint(alternative_names(certificate or b""))


def files(tls: Tls) -> list[str]:
    """Return the paths of the files that `tls` names."""
    return [pem.file for pem in (tls.cert, tls.key, tls.client_ca) if pem and pem.file]


def make(tls: Tls) -> TlsSide:
    """Read the files and make the context; raises `ConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    # A client could make us do the costly half of a handshake again and again.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    # No tickets: each connection of TLS 1.3 verifies the client's certificate, its dates too.
    context.num_tickets = 0
    _load_certificate(context, tls)
    if tls.client_ca:
        _load_client_ca(context, tls, tls.client_ca)
    context.verify_mode = _VERIFY[tls.client_auth_type]
    _choose_ciphers(context, tls)
    _choose_curves(context, tls)
    return TlsSide(context, frozenset(map(canonical, tls.client_allowed_sans)))


def _error(tls: Tls, key: str, problem: str) -> ConfigError:
    return ConfigError(f"{tls.origin}: tls_server_config.{key}: {problem}")


def _content(tls: Tls, key: str, pem: Pem, holds: str) -> bytes:
    """Return what `pem` stands for, which must have a part whose name ends with `holds`."""
    try:
        content = read_regular(pem.file) if pem.file else (pem.text or "").encode()
    except ReadError as error:
        raise _error(tls, f"{key}_file", str(error)) from None
    where = pem.file or "this"
    if f"{holds}-----".encode() not in content:
        raise _error(tls, key, f"{where} holds no {holds} in PEM")
    if b"ENCRYPTED" in content:
        raise _error(tls, key, f"{where} is encrypted: store it without a passphrase")
    return content


def _load_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    certificate = _content(tls, "cert", tls.cert, "CERTIFICATE")
    key = _content(tls, "key", tls.key, "PRIVATE KEY")
    try:
        with _in_memory(certificate) as cert_path, _in_memory(key) as key_path:
            # Without a password OpenSSL might prompt at the terminal.
            context.load_cert_chain(cert_path, key_path, password=b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        where = f"{tls.cert.file or 'cert'}, {tls.key.file or 'key'}"
        raise _error(tls, "cert", f"{where}: {_reason(error)}") from None


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Give `content` a path: load_cert_chain() takes no bytes, and a key belongs on no disk."""
    descriptor = os.memfd_create("netfilter_exporter", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _load_client_ca(context: ssl.SSLContext, tls: Tls, pem: Pem) -> None:
    content = _content(tls, "client_ca", pem, "CERTIFICATE")
    try:
        context.load_verify_locations(cadata=content.decode("latin-1"))
    except (ssl.SSLError, ValueError) as error:
        where = pem.file or "client_ca"
        raise _error(tls, "client_ca", f"{where}: {_reason(error)}") from None


def _choose_ciphers(context: ssl.SSLContext, tls: Tls) -> None:
    names = [name for name in map(CIPHER_SUITES.get, tls.cipher_suites) if name]
    if not names:
        return
    # OpenSSL drops a name that it does not have without a word.
    missing = ", ".join(name for name in names if not _has_cipher(name))
    if missing:
        raise _error(tls, "cipher_suites", f"this OpenSSL does not have {missing}")
    context.set_ciphers(":".join(names))


def _has_cipher(name: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(name)
    except ssl.SSLError:
        return False
    return True


def _choose_curves(context: ssl.SSLContext, tls: Tls) -> None:
    names = [_CURVES[curve] for curve in tls.curve_preferences]
    set_groups = getattr(context, "set_groups", None)  # Python 3.15
    try:
        if set_groups and names:
            set_groups(":".join(names))
        elif len(names) > 1:
            raise _error(tls, "curve_preferences", "before 3.15 Python's ssl can set only one")
        elif names:
            context.set_ecdh_curve(names[0])
    except (ssl.SSLError, ValueError):
        problem = f"this Python's ssl cannot do {', '.join(names)}"
        raise _error(tls, "curve_preferences", problem) from None


def _reason(error: Exception) -> str:
    if not isinstance(error, ssl.SSLError):
        return str(error)
    reason = error.reason or ""
    return _REASONS.get(reason, reason.lower().replace("_", " ") or "not PEM")
