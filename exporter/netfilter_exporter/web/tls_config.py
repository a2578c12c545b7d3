"""tls_server_config, a section of --web.config.file.

What the format has and Python's ssl has not is refused, here or in web/tls.py, rather than served
with less protection than the file requires.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from typing import Any, Callable

import yaml

from netfilter_exporter.config.yaml_reader import (
    ConfigError,
    Place,
    Reader,
    boolean,
    choice,
    fields,
    list_of,
    matching,
    scalar,
)


class ClientAuth(enum.Enum):
    """Whether clients show certificates, in Go's words."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


class Version(enum.Enum):
    """A version of TLS that Python's ssl speaks with the defaults of OpenSSL 3."""

    TLS12 = "TLS12"
    TLS13 = "TLS13"


class Curve(enum.Enum):
    """A curve of the key exchange, in Go's words."""

    P256 = "CurveP256"
    P384 = "CurveP384"
    P521 = "CurveP521"
    X25519 = "X25519"


@dataclasses.dataclass(frozen=True)
class Pem:
    """Certificates or a key: in a file, or in the configuration itself."""

    file: str | None = None
    text: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class Tls:
    """What stands in tls_server_config."""

    origin: str  #: file and place of the section, for messages
    cert: Pem
    key: Pem
    client_ca: Pem | None = None
    client_auth_type: ClientAuth = ClientAuth.NONE
    client_allowed_sans: tuple[str, ...] = ()
    min_version: Version = Version.TLS12
    max_version: Version = Version.TLS13
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Curve, ...] = ()


#: Go's names of what its tls.CipherSuites() returns (1.25), and OpenSSL's. Those of TLS 1.3 cannot
#: be chosen, in Go neither: they are taken, and change nothing.
CIPHER_SUITES = {
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}


def _path(node: yaml.Node, place: Place) -> str:
    """Read the path of a file; a relative one starts at the folder of the configuration."""
    text = str(_FILE_NAME(node, place))
    return os.path.join(os.path.dirname(place.file), text)


def _pem(node: yaml.Node, place: Place) -> str:
    text = scalar(node, place, "PEM")
    if "-----BEGIN " not in text:
        # Not shown: it may be the key.
        raise place.error(node, "this is not PEM", "-----BEGIN ... of a PEM file, after a |")
    return text


def _refused_or(read: Reader, refused: dict[str, str]) -> Reader:
    """Say of a word of the format why it is refused, before `read` says that it knows none."""

    def check(node: yaml.Node, place: Place) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.value in refused:
            raise place.error(node, f"Python's ssl cannot do {node.value}", refused[node.value])
        return read(node, place)

    return check


def _cipher(node: yaml.Node, place: Place) -> str:
    name = scalar(node, place, "a name of Go's")
    if name not in CIPHER_SUITES:
        raise place.error(node, f"{name[:60]!r} is not known", ", ".join(CIPHER_SUITES))
    return name


def read(node: yaml.Node, place: Place) -> Tls | None:
    """Read the section; None where it is empty, which means plain HTTP."""
    values = fields(node, place, _TLS)
    if not values:
        return None

    def fail(problem: str, allowed: str) -> ConfigError:
        return place.error(node, problem, allowed)

    cert, key, client_ca = (_one_pem(values, name, fail) for name in ("cert", "key", "client_ca"))
    if not cert or not key:
        missing = "key" if cert else "cert"
        raise fail(f"{missing}_file is missing", f"{missing}_file or {missing}")
    tls = Tls(place.at(node), cert, key, client_ca, **values)
    _check_clients(tls, fail)
    if (tls.min_version, tls.max_version) == (Version.TLS13, Version.TLS12):
        raise fail("min_version is above max_version", "one that is not above the other")
    if tls.cipher_suites and not any(map(CIPHER_SUITES.get, tls.cipher_suites)):
        if tls.max_version is Version.TLS12:
            raise fail("none of cipher_suites is one of TLS 1.2", "one that max_version can use")
        tls = dataclasses.replace(tls, min_version=Version.TLS13)
    return tls


def _one_pem(
    values: dict[str, Any], name: str, fail: Callable[[str, str], ConfigError]
) -> Pem | None:
    """Take NAME or NAME_file out of `values`."""
    file, text = values.pop(f"{name}_file", None), values.pop(name, None)
    if file and text:
        raise fail(f"{name} and {name}_file are both given", "one of them")
    return Pem(file, text) if file or text else None


def _check_clients(tls: Tls, fail: Callable[[str, str], ConfigError]) -> None:
    """Refuse what would let anybody in although the file looks as if it would not."""
    verifies = tls.client_auth_type is not ClientAuth.NONE
    if tls.client_ca and not verifies:
        raise fail("client_ca needs a client_auth_type", ClientAuth.REQUIRED.value)
    if verifies and not tls.client_ca:
        raise fail(f"{tls.client_auth_type.value} needs a client_ca_file", "client_ca_file")
    if tls.client_allowed_sans and tls.client_auth_type is not ClientAuth.REQUIRED:
        raise fail(
            "client_allowed_sans needs every client to show a certificate",
            f"client_auth_type: {ClientAuth.REQUIRED.value}",
        )


# -- the schema ----------------------------------------------------------------------------------

_FILE_NAME = matching(r"[^\x00-\x1f\x7f]{1,4096}", "the path of a file")
_SAN = matching(r"[!-~]{1,255}", "a DNS name, IP address, e-mail address or URI")
_UNVERIFIED = ", ".join(auth.value for auth in ClientAuth)
_VERSION = _refused_or(choice(Version), dict.fromkeys(("TLS10", "TLS11"), "TLS12, TLS13"))

_TLS: dict[str, Reader] = {
    "cert_file": _path,
    "key_file": _path,
    "cert": _pem,
    "key": _pem,
    "client_ca_file": _path,
    "client_ca": _pem,
    "client_auth_type": _refused_or(
        choice(ClientAuth),
        dict.fromkeys(
            ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"), _UNVERIFIED
        ),
    ),
    "client_allowed_sans": list_of(_SAN),
    "min_version": _VERSION,
    "max_version": _VERSION,
    "cipher_suites": list_of(_cipher),
    "prefer_server_cipher_suites": boolean,
    "curve_preferences": list_of(choice(Curve)),
}
