"""web/listen.py: addresses of the command line."""

import socket

import pytest

from netfilter_exporter.web.listen import (
    Address,
    CannotListen,
    bound_address,
    listen,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":10042", Address("", 10042)),
        ("127.0.0.1:9", Address("127.0.0.1", 9)),
        ("[::1]:0", Address("::1", 0)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("gateway.example:65535", Address("gateway.example", 65535)),
    ],
)
def test_addresses(text, address):
    """The forms of node_exporter's flag, there and back."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "10042", "::1:80", "[::1]", "a:b", "a:65536", "a:-1", "a:"])
def test_what_is_no_address(text):
    """A mistake is told, not guessed at."""
    with pytest.raises(ValueError, match=r"is none of|is larger than"):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0", "localhost:0", ":0"])
def test_listening(text):
    """One address of each kind accepts; none but the empty host takes both families."""
    with listen(parse_address(text)) as listener:
        port = listener.getsockname()[1]
        assert bound_address(listener).endswith(f":{port}")
        reached = []
        for host in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((host, port), timeout=5).close()
            except ConnectionRefusedError:
                continue
            reached.append(host)
    assert (
        reached
        == {
            "127.0.0.1:0": ["127.0.0.1"],
            "[::1]:0": ["::1"],
            "localhost:0": ["127.0.0.1"],
            ":0": ["127.0.0.1", "::1"],
        }[text]
    )


def test_a_port_in_use():
    """The error names the address and the reason."""
    with listen(parse_address("127.0.0.1:0")) as first:
        address = Address("127.0.0.1", first.getsockname()[1])
        with pytest.raises(CannotListen, match=f"cannot listen on {address}: Address already"):
            listen(address)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.invalid", "a" * 64 + ".invalid"])
def test_an_address_that_is_not_ours(host):
    """Neither a foreign address nor an unknown name is a traceback."""
    with pytest.raises(CannotListen, match="cannot listen on"):
        listen(Address(host, 0))
