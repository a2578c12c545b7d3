"""Certificates of clients with any names and dates, which trustme does not issue."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtensionOID, NameOID

NOW = dt.datetime.now(dt.timezone.utc)
DAY = dt.timedelta(days=1)


def element(tag: int, content: bytes) -> bytes:
    """Return a DER element with a short length."""
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


class Authority:
    """Issues certificates of clients."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._key, self._name, None, NOW - 9 * DAY, NOW + 9 * DAY)

    def _sign(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        names: bytes | None,
        before: dt.datetime,
        after: dt.datetime,
    ) -> x509.Certificate:
        constraint = x509.BasicConstraints(ca=names is None, path_length=None)
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(before)
            .not_valid_after(after)
            .add_extension(constraint, critical=True)
        )
        if names:
            oid = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
            der = element(0x30, names)
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, der), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(
        self,
        folder: Path,
        names: bytes = b"",
        before: dt.datetime = NOW - DAY,
        after: dt.datetime = NOW + DAY,
        subject: str = "client",
    ) -> Path:
        """Write a certificate and its key; return their path."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        certificate = self._sign(key, name, names, before, after)
        path = folder / "issued.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        return path
