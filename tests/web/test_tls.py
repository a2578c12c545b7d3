"""web/tls.py, web/web_file.py and TLS in web/server.py: who is spoken to, and with what."""

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import threading
import time

import pytest

from netfilter_exporter.config.yaml_reader import ConfigError
from netfilter_exporter.web import tls as tls_module
from netfilter_exporter.web.connection import Limits
from netfilter_exporter.web.http import Response
from netfilter_exporter.web.web_file import WebFile
from support.serving import PATIENCE, collector, eventually, receive_all, receive_response

TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
CLIENTS = TLS + "  client_ca_file: ca.pem\n  client_auth_type: "
GET = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def start(serve, web_config):
    """Return a function that starts a server with the text of a web configuration."""
    return lambda text: serve(web_config=web_config(text))


@pytest.fixture
def client(certificates):
    """Return a function that makes a client's context: with NAME's certificate, or with none."""

    def make(name=None, **settings):
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        if name:
            context.load_cert_chain(
                certificates / f"{name}-cert.pem", certificates / f"{name}-key.pem"
            )
        for key, value in settings.items():
            setattr(context, key, value)
        return context

    return make


def connect(server, context):
    return context.wrap_socket(server.connect(), server_hostname="localhost")


def get(server, context, path="/-/healthy"):
    client = http.client.HTTPSConnection(
        "127.0.0.1", server.port, timeout=PATIENCE, context=context
    )
    with contextlib.closing(client):
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read()


# -- TLS ---------------------------------------------------------------------------------------


def test_a_scrape_over_tls(serve, web_config, client):
    """The certificate is that of the file, the connection is kept, and the page is whole."""
    server = serve(web_config=web_config(TLS))
    with connect(server, client()) as peer:
        assert peer.version() == "TLSv1.3"
        for _ in range(3):
            peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            head, body = receive_response(peer)
            assert head.startswith(b"HTTP/1.1 200")
            assert b"netfilter_test_one 1.0" in body


def test_a_large_answer_over_tls(serve, web_config, client, monkeypatch):
    """More than buffers hold arrives in full, however slowly it is read."""
    server = serve(web_config=web_config(TLS))
    body = os.urandom(3_000_000)
    monkeypatch.setattr(server.server, "application", lambda _: Response(200, body))
    with connect(server, client()) as peer:
        peer.sendall(GET)
        time.sleep(0.1)
        assert receive_response(peer)[1] == body


def test_keys_may_stand_in_the_file(serve, web_config, client, certificates):
    """Certificate, key and authority are taken inline too."""

    def inline(name):
        return "|\n" + "".join(
            f"    {line}\n" for line in (certificates / name).read_text().split("\n")
        )

    text = (
        f"tls_server_config:\n  cert: {inline('cert.pem')}  key: {inline('key.pem')}"
        f"  client_ca: {inline('ca.pem')}  client_auth_type: RequireAndVerifyClientCert\n"
    )
    server = serve(web_config=web_config(text))
    assert get(server, client("client"))[0] == 200


@pytest.mark.parametrize(
    ("more", "newest", "spoken"),
    [
        ("", ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ("  max_version: TLS12\n", ssl.TLSVersion.TLSv1_3, "TLSv1.2"),
        ("  min_version: TLS13\n", ssl.TLSVersion.TLSv1_2, None),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", ssl.TLSVersion.TLSv1_2, None),
    ],
)
def test_versions(start, client, more, newest, spoken):
    """What the file excludes is not spoken."""
    server = start(TLS + more)
    context = client(maximum_version=newest)
    if spoken:
        with connect(server, context) as peer:
            assert peer.version() == spoken
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(server, context)


def test_ciphers_and_curves(serve, web_config, client):
    """Of TLS 1.2 the chosen suites alone are spoken, and the chosen curve in any version."""
    more = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"
    server = serve(web_config=web_config(TLS + more + "  curve_preferences: [CurveP521]\n"))
    context = client(maximum_version=ssl.TLSVersion.TLSv1_2)
    with connect(server, context) as peer:
        assert peer.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with pytest.raises(ssl.SSLError):
        connect(server, context)
    other = client()
    other.set_ecdh_curve("prime256v1")
    with pytest.raises(ssl.SSLError):
        connect(server, other)


def test_what_this_python_cannot_do_is_refused(web_config, monkeypatch):
    """An order of curves, or a suite that OpenSSL lacks: a clear error, not less protection."""
    if not hasattr(ssl.SSLContext, "set_groups"):  # Python 3.15
        with pytest.raises(ConfigError, match=r"curve_preferences: before 3\.15 Python's ssl can"):
            WebFile(str(web_config(TLS + "  curve_preferences: [X25519, CurveP256]\n")))
    monkeypatch.setitem(tls_module.CIPHER_SUITES, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "GONE")
    with pytest.raises(ConfigError, match="cipher_suites: this OpenSSL does not have GONE"):
        WebFile(str(web_config(TLS + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n")))


def test_a_key_is_on_no_disk(web_config, monkeypatch):
    """It goes to OpenSSL through memory, and no descriptor stays open."""
    file = web_config(TLS)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        WebFile(str(file)).current()
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr("tempfile.mkstemp", None)
    WebFile(str(file))


# -- certificates of clients -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "name", "served"),
    [
        ("RequireAndVerifyClientCert", "client", True),
        ("RequireAndVerifyClientCert", None, False),
        ("RequireAndVerifyClientCert", "stranger", False),
        ("VerifyClientCertIfGiven", "client", True),
        ("VerifyClientCertIfGiven", None, True),
        ("VerifyClientCertIfGiven", "stranger", False),
    ],
)
def test_certificates_of_clients(start, client, rule, name, served):
    """Who has none, or one of another authority, is served as the file says."""
    server = start(CLIENTS + rule)
    if served:
        assert get(server, client(name)) == (200, b"netfilter_exporter is healthy\n")
    else:
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            get(server, client(name))


@pytest.mark.parametrize(
    ("allowed", "served"),
    [
        ("[prometheus.example]", True),
        ("['2001:db8::1']", True),
        ("['2001:0DB8:0:0::1']", True),
        ("[other.example]", False),
        ("[example, Prometheus.example.org]", False),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_names_of_clients(start, client, allowed, served, version):
    """Of the authority's clients, those that the list names; an address in any spelling."""
    server = start(f"{CLIENTS}RequireAndVerifyClientCert\n  client_allowed_sans: {allowed}\n")
    asked = []
    server.server.application = lambda request, real=server.server.application: (
        asked.append(request) or real(request)
    )
    context = client("client", maximum_version=version)
    if served:
        assert get(server, context)[0] == 200
    else:
        with pytest.raises((OSError, http.client.HTTPException)):
            get(server, context)
    assert bool(asked) is served
    eventually(lambda: not server.server._waiting)


# -- reading again -----------------------------------------------------------------------------


def serial(server, context):
    with connect(server, context) as peer:
        return peer.getpeercert()["serialNumber"]


@pytest.mark.usefixtures("at_once")
def test_new_certificates_are_taken_at_once(serve, web_config, client, certificates, caplog):
    """A renewed certificate needs no restart; while its key is not there yet, the old one stays."""
    file = web_config(TLS)
    server = serve(web_config=file)
    context = client(check_hostname=False)
    old = serial(server, context)
    with connect(server, context) as kept:
        shutil.copy(certificates / "other-cert.pem", file.parent / "cert.pem")
        assert serial(server, context) == old
        assert serial(server, context) == old
        assert caplog.text.count("the key is not that of the certificate") == 1
        assert not server.web_file.reload_status.successful
        shutil.copy(certificates / "other-key.pem", file.parent / "key.pem")
        assert serial(server, context) != old
        assert server.web_file.reload_status.successful
        kept.sendall(GET)
        assert receive_response(kept)[0].startswith(b"HTTP/1.1 200")


@pytest.mark.usefixtures("at_once")
def test_a_bad_file_changes_nothing(serve, web_config, client, caplog):
    """Not even where it is gone: TLS never becomes plain HTTP by a mistake."""
    file = web_config(TLS)
    server = serve(web_config=file)
    for spoil in (lambda: web_config("tls_server_config: {cert_file: absent}"), file.unlink):
        spoil()
        for _ in range(3):
            assert get(server, client())[0] == 200
    assert caplog.text.count("kept the previous web configuration") == 2
    web_config("rate_limit:")
    assert server.get("/-/healthy")[0] == 200  # plain, as asked for


@pytest.mark.usefixtures("at_once")
def test_a_file_that_is_named_and_missing_is_waited_for(serve, web_config, client):
    """When it appears, it is read, although the configuration itself has not changed."""
    file = web_config(TLS)
    server = serve(web_config=file)
    web_config(TLS.replace("cert.pem", "new.pem"))
    assert get(server, client())[0] == 200
    assert not server.web_file.reload_status.successful
    shutil.copy(file.parent / "cert.pem", file.parent / "new.pem")
    assert get(server, client())[0] == 200
    assert server.web_file.reload_status.successful


def test_a_file_that_is_being_written_is_not_read(serve, web_config, client):
    """Its beginning alone could be good, and let in everybody: it is read when it has settled."""
    file = web_config(TLS)
    server = serve(web_config=file)
    file.write_text("")  # as an editor does, before it writes the rest
    assert get(server, client())[0] == 200
    file.write_text(TLS + "  max_version: TLS12\n")
    eventually(lambda: spoken_version(server, client()) == "TLSv1.2", 3)


def spoken_version(server, context):
    with connect(server, context) as peer:
        return peer.version()


# -- peers that do not speak TLS ---------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        GET,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 508,
        b"\x16\x03\x01\xff\xff",
        b"\x80\x2e\x01\x00\x02",
        b"\x00" * 100_000,
        os.urandom(4096),
    ],
    ids=["plain HTTP", "ClientHello", "length", "SSLv2", "zeros", "random"],
)
def test_garbage_instead_of_a_handshake(serve, web_config, client, caplog, garbage):
    """It is cut off without a word that tells what we are, and disturbs neither log nor others."""
    server = serve(web_config=web_config(TLS), limits=Limits(handshake_seconds=0.3))
    with server.connect() as peer:
        with contextlib.suppress(ConnectionError):
            peer.sendall(garbage)
        answer = receive_all(peer)
    assert b"HTTP" not in answer
    assert b"ython" not in answer
    assert get(server, client())[0] == 200
    assert caplog.text == ""


def test_a_handshake_has_a_deadline(serve, web_config, client):
    """Who connects and says nothing, or a byte now and then, is gone in time."""
    server = serve(web_config=web_config(TLS), limits=Limits(handshake_seconds=0.4))
    began = time.monotonic()
    with server.connect() as silent, server.connect() as slow:
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03":
            with contextlib.suppress(ConnectionError):
                slow.sendall(bytes([byte]))
            time.sleep(0.05)
        assert receive_all(silent) == b""
        receive_all(slow)
    assert time.monotonic() - began < 2
    assert get(server, client())[0] == 200
    eventually(lambda: not server.server._opening)


def test_a_peer_that_never_closes_is_dropped(serve, web_config, client):
    """After the last answer a TLS peer that keeps its side open is not waited for."""
    limits = Limits(linger_seconds=0.3)
    server = serve(web_config=web_config(TLS), limits=limits)
    before = len(os.listdir("/proc/self/fd"))
    raw = server.connect()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            session.do_handshake()
            break
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            incoming.write(raw.recv(65536))
    session.write(GET.replace(b"Host: a", b"Host: a\r\nConnection: close"))
    raw.sendall(outgoing.read())
    eventually(lambda: len(os.listdir("/proc/self/fd")) == before + 1, 5)  # ours alone
    raw.close()


def test_stopping_with_tls_peers(serve, web_config, client):
    """Idle TLS peers and unfinished handshakes do not delay the end; a scrape gets its page."""
    started, going_on = threading.Event(), threading.Event()

    def read(_):
        started.set()
        return int(going_on.wait(PATIENCE))

    server = serve(collector("slow", read), web_config=web_config(TLS))
    with connect(server, client()) as busy, connect(server, client()) as idle, server.connect():
        busy.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert started.wait(PATIENCE)
        began = time.monotonic()
        server.stop()
        with contextlib.suppress(ssl.SSLError):
            assert receive_all(idle) == b""
        going_on.set()
        assert b"netfilter_test_slow 1.0" in receive_all(busy)
    server.close()
    assert time.monotonic() - began < 3
    with pytest.raises(OSError, match=r".*"), socket.create_connection(("127.0.0.1", server.port)):
        pass
