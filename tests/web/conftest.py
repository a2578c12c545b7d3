"""Servers, certificates and web configurations for the tests of serving."""

from __future__ import annotations

import logging
import os
import shutil
import signal

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from netfilter_exporter import cli
from netfilter_exporter.web import web_file
from support.serving import Running, collector


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Return a folder with a server's certificate, its authority, and those of clients."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = {
        "": authority.issue_cert("localhost", "127.0.0.1"),
        "other-": authority.issue_cert("other.example"),
        "client-": authority.issue_cert("prometheus.example", "2001:db8::1"),
        "stranger-": stranger.issue_cert("prometheus.example"),
    }
    for name, certificate in issued.items():
        certificate.private_key_pem.write_to_path(str(folder / f"{name}key.pem"))
        (folder / f"{name}cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    key = load_pem_private_key(issued[""].private_key_pem.bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    (folder / "encrypted-key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)
    )
    return folder


@pytest.fixture
def web_config(certificates, tmp_path):
    """Return a function that writes a web configuration, beside the certificates it may name."""
    folder = tmp_path / "web"
    shutil.copytree(certificates, folder)

    def write(text):
        (folder / "web.new").write_text(text)
        os.replace(folder / "web.new", folder / "web.yml")  # nobody sees a part of it
        return folder / "web.yml"

    return write


@pytest.fixture
def at_once(monkeypatch):
    """Files are read again without waiting until they have settled."""
    monkeypatch.setattr(web_file, "SETTLED_SECONDS", 0)


@pytest.fixture
def serve():
    """Return a function that starts a server; all are closed at the end."""
    servers = []

    def start(*collectors, **settings):
        servers.append(Running(collectors or [collector("one")], **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def logging_kept():
    """Puts the root logger back, which the command sets up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def start(monkeypatch, logging_kept):  # noqa: ARG001 - the command sets up logging
    """Return a function that starts the command until it serves; returns its exit code.

    In this process, which goes on to need what a sandbox takes.
    """

    def ready(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    def run(*flags):
        monkeypatch.setattr("netfilter_exporter.daemon.systemd.Manager.notify", ready)
        return cli.main(["--web.listen-address=127.0.0.1:0", "--sandbox.disable", *flags])

    return run
