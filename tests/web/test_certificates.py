"""web/certificate.py, and TLS with certificates of every kind, good and bad."""

import http.client
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.web.certificate import alternative_names
from support.authority import DAY, NOW, Authority, element
from support.serving import PATIENCE

TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
CLIENTS = TLS + "  client_ca_file: authority.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
HEALTHY = (200, b"netfilter_exporter is healthy\n")
GOOD = b"\x82\x0cgood.example"


#: General names that no list can allow, by RFC 5280 and beyond it.
ODD = {
    "directory name": bytes.fromhex("a4 0f 30 0d 31 0b 30 09 06 03 55 04 03 0c 02 63 6e"),
    "directory name in Latin-1": bytes.fromhex(
        "a4 0f 30 0d 31 0b 30 09 06 03 55 04 03 14 02 e4 f6"
    ),
    "other name": bytes.fromhex("a0 0a 06 03 2a 03 04 a0 03 0c 01 61"),
    "X.400 address": bytes.fromhex("a3 02 30 00"),
    "EDI party": bytes.fromhex("a5 05 a1 03 0c 01 61"),
    "registered ID": bytes.fromhex("88 03 2a 03 04"),
    "DNS name that is not UTF-8": b"\x82\x03\xff\xfe\x80",
    "DNS name with a NUL": b"\x82\x0egood.example\0x",
    "e-mail in Latin-1": b"\x81\x03\xe4@b",
    "URI that is not UTF-8": b"\x86\x03\xf0\x28\x8c",
    "address of five bytes": b"\x87\x05\x01\x02\x03\x04\x05",
    "address without bytes": b"\x87\x00",
    "empty DNS name": b"\x82\x00",
}


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def start(serve, web_config, authority):
    """Return a function that starts a server which knows the authority."""

    def run(text):
        file = web_config("")
        pem = authority.certificate.public_bytes(Encoding.PEM)
        (file.parent / "authority.pem").write_bytes(pem)
        return serve(web_config=web_config(text))

    return run


@pytest.fixture
def client(certificates):
    """Return a function that makes a client's context with a certificate."""

    def make(path=None, version=ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        context.maximum_version = version
        if path:
            context.load_cert_chain(path)
        return context

    return make


def get(server, context):
    peer = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=PATIENCE, context=context)
    try:
        peer.request("GET", "/-/healthy")
        response = peer.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        peer.close()


# -- names -------------------------------------------------------------------------------------


def names_of(path):
    der = ssl.PEM_cert_to_DER_cert(path.read_text()[path.read_text().index("-----BEGIN CERT") :])
    return alternative_names(der)


def test_every_kind_of_name_that_can_be_allowed(authority, tmp_path):
    """DNS names, e-mail addresses, URIs and addresses are read, in the form of the list."""
    names = [
        GOOD,
        element(0x81, b"prometheus@example"),
        element(0x86, b"spiffe://example/p"),
        b"\x87\x04\xc0\x00\x02\x01",
        b"\x87\x10" + bytes.fromhex("20010db8000000000000000000000001"),
    ]
    expected = {
        "good.example",
        "prometheus@example",
        "spiffe://example/p",
        "192.0.2.1",
        "2001:db8::1",
    }
    assert names_of(authority.issue(tmp_path, b"".join(names))) == expected


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("first", [True, False])
def test_odd_names_are_passed_over(authority, tmp_path, odd, first):
    """They hide no other name, and are none themselves."""
    names = odd + GOOD if first else GOOD + odd
    assert names_of(authority.issue(tmp_path, names)) == {"good.example"} | (
        {"good.example\0x"} if b"\0x" in odd else set()
    )


def test_a_certificate_without_names(authority, tmp_path):
    """The subject counts as little as it does in Go."""
    assert names_of(authority.issue(tmp_path, subject="good.example")) == set()


@given(st.binary(max_size=200))
def test_any_bytes_have_names_or_none(data):
    """What is no certificate raises nothing."""
    assert isinstance(alternative_names(data), frozenset)


def test_a_certificate_that_is_cut_off_has_no_wrong_names(authority, tmp_path):
    """Each beginning of a certificate has the names of the whole, or none."""
    path = authority.issue(tmp_path, GOOD)
    der = ssl.PEM_cert_to_DER_cert(path.read_text()[path.read_text().index("-----BEGIN CERT") :])
    assert {alternative_names(der[:length]) for length in range(len(der))} <= {
        frozenset(),
        frozenset({"good.example"}),
    }


# -- clients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_client_with_an_odd_name(start, client, authority, tmp_path, odd, caplog):
    """Is let in by its good name, is not without it, and leaves no traceback either way."""
    server = start(CLIENTS + "  client_allowed_sans: [good.example]\n")
    assert get(server, client(authority.issue(tmp_path, odd))) is None
    assert get(server, client(authority.issue(tmp_path, odd + GOOD))) in {HEALTHY, None}
    if not odd.startswith((b"\x87", b"\x82\x00")):  # which some versions of OpenSSL refuse
        assert get(server, client(authority.issue(tmp_path, odd + GOOD))) == HEALTHY
    assert "Traceback" not in caplog.text
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_name_where_none_is_asked_for(start, client, authority, tmp_path, odd, caplog):
    """Without client_allowed_sans the names are not read at all."""
    server = start(CLIENTS)
    assert get(server, client(authority.issue(tmp_path, odd))) in {HEALTHY, None}
    assert get(server, client(authority.issue(tmp_path, GOOD))) == HEALTHY
    assert "Traceback" not in caplog.text


BAD = {
    "expired": {"before": NOW - 3 * DAY, "after": NOW - DAY},
    "not yet valid": {"before": NOW + DAY, "after": NOW + 3 * DAY},
}


@pytest.mark.parametrize("dates", BAD.values(), ids=BAD)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("rule", ["RequireAndVerifyClientCert", "VerifyClientCertIfGiven"])
def test_a_client_out_of_its_dates(
    start, client, authority, tmp_path, dates, version, rule, caplog
):
    """Is refused, also where a certificate is optional; the next one is served, the log is calm."""
    server = start(CLIENTS.replace("RequireAndVerifyClientCert", rule))
    assert get(server, client(authority.issue(tmp_path, GOOD, **dates), version)) is None
    assert get(server, client(authority.issue(tmp_path, GOOD), version)) == HEALTHY
    assert caplog.text == ""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_of_an_unknown_authority(start, client, tmp_path, version, caplog):
    """Is refused, even where the authority has the name of the known one."""
    server = start(CLIENTS)
    for name in ("authority", "stranger"):
        assert get(server, client(Authority(name).issue(tmp_path, GOOD), version)) is None
    assert caplog.text == ""


# -- the server's own --------------------------------------------------------------------------


@pytest.mark.parametrize("dates", BAD.values(), ids=BAD)
def test_a_server_out_of_its_dates(serve, web_config, authority, tmp_path, client, dates, caplog):
    """It serves, as Go does: the client decides, and its alert disturbs nobody."""
    file = web_config(TLS)
    issued = authority.issue(tmp_path, b"\x82\x09localhost\x87\x04\x7f\x00\x00\x01", **dates)
    for name in ("cert.pem", "key.pem"):
        (file.parent / name).write_bytes(issued.read_bytes())
    server = serve(web_config=file)
    context = ssl.create_default_context(
        cadata=authority.certificate.public_bytes(Encoding.PEM).decode()
    )
    assert get(server, context) is None
    assert get(server, client()) is None  # an authority that the client does not know
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    assert get(server, context) == HEALTHY
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["localhost", "other.example", "127.0.0.1", "::1", "a" * 63, None])
def test_any_server_name_gets_the_certificate(serve, web_config, client, name):
    """There is one, whatever name a client sends, or none (SNI)."""
    server = serve(web_config=web_config(TLS))
    context = client()
    context.check_hostname = False
    with context.wrap_socket(server.connect(), server_hostname=name) as peer:
        assert ("DNS", "localhost") in peer.getpeercert()["subjectAltName"]


# -- tickets -----------------------------------------------------------------------------------


def session_of(server, context, session=None):
    """Return the session of a connection that had an answer, and whether it was resumed."""
    raw = server.connect()
    with context.wrap_socket(raw, server_hostname="localhost", session=session) as peer:
        peer.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
        assert peer.recv(4096).startswith(b"HTTP/1.1 200")
        return peer.session, peer.session_reused


def test_tls13_gives_no_tickets(start, client, authority, tmp_path):
    """So each connection shows its certificate, whose dates are verified."""
    server = start(CLIENTS + "  client_allowed_sans: [good.example]\n")
    context = client(authority.issue(tmp_path, GOOD))
    session, _ = session_of(server, context)
    assert session is None or not session.has_ticket


@pytest.mark.usefixtures("at_once")
def test_a_ticket_does_not_outlive_the_list(start, client, authority, tmp_path, web_config):
    """TLS 1.2 resumes with a ticket as long as the file stays, and the names still decide."""
    server = start(CLIENTS + "  client_allowed_sans: [good.example]\n")
    context = client(authority.issue(tmp_path, GOOD), ssl.TLSVersion.TLSv1_2)
    session, reused = session_of(server, context)
    assert (session.has_ticket, reused) == (True, False)
    session, reused = session_of(server, context, session)
    assert reused
    web_config(CLIENTS + "  client_allowed_sans: [better.example]\n")
    with pytest.raises((OSError, AssertionError)):
        session_of(server, context, session)
    web_config(CLIENTS + "  client_allowed_sans: [good.example]\n")
    _, reused = session_of(server, context, session)
    assert not reused
