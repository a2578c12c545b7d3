"""kernel/netlink/connection.py: whole datagrams from the socket, or a clear error."""

import errno
import os
import socket

import pytest

from netfilter_exporter.kernel.errors import Denied, Malformed, ReadError, TimedOut, Unsupported
from netfilter_exporter.kernel.netlink import transport
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, NETLINK_ROUTE
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket


@pytest.fixture
def pair(monkeypatch):
    """A NetlinkSocket on one end of a pair of datagram sockets, and the other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    monkeypatch.setattr(transport.socket, "socket", lambda *_, **__: ours)
    opened = NetlinkSocket(NETLINK_ROUTE)
    yield opened, theirs
    opened.close()
    theirs.close()


def test_a_datagram_larger_than_the_buffer_is_malformed(pair):
    """A datagram that was cut is never parsed as if it were whole."""
    ours, theirs = pair
    theirs.send(bytes(transport._BUFFER))
    assert len(ours.receive(1.0)) == transport._BUFFER
    theirs.send(bytes(transport._BUFFER + 1))
    with pytest.raises(Malformed, match=f"{transport._BUFFER + 1} bytes was cut"):
        ours.receive(1.0)


def test_a_datagram_outlives_the_next(pair):
    """What was received stays as it was when the buffer is used again."""
    ours, theirs = pair
    theirs.send(b"first")
    first = ours.receive(1.0)
    theirs.send(b"other")
    assert (bytes(ours.receive(1.0)), bytes(first)) == (b"other", b"first")


def test_silence_times_out(pair):
    """Where no answer comes, waiting ends."""
    with pytest.raises(TimedOut, match=r"no answer within 0\.0 s"):
        pair[0].receive(0.01)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EPERM, Denied), (errno.EPROTONOSUPPORT, Unsupported), (errno.EMFILE, ReadError)],
)
def test_a_socket_that_cannot_be_opened_is_classified(monkeypatch, number, kind):
    """A kernel without netlink, a user without the right and a full table are told apart."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(transport.socket, "socket", refuse)
    with pytest.raises(kind, match="netlink protocol 12: ") as caught:
        NetlinkSocket(NETLINK_NETFILTER)
    assert type(caught.value) is kind


@pytest.mark.parametrize("call", ["send", "receive"])
def test_a_socket_that_fails_is_an_error(pair, call):
    """ENOBUFS says that messages were lost: no part of an answer is taken for the whole."""
    ours, _ = pair
    ours._socket.close()
    ours._socket = Overrun()
    with pytest.raises(ReadError, match=f"netlink {call}: No buffer space"):
        ours.send(b"") if call == "send" else ours.receive(1.0)


class Overrun:
    """A socket whose buffer is too small for what came."""

    def settimeout(self, _):
        pass

    def close(self):
        pass

    def send(self, *_):
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    recv_into = send
