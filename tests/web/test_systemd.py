"""web/systemd.py: sockets that are handed over, and the word that we are ready."""

import os
import socket
import subprocess
import sys

import pytest

from netfilter_exporter.web import systemd
from netfilter_exporter.web.listen import CannotListen, bound_address
from support.process import COMMAND, ENVIRONMENT, get, running

#: Stands in for systemd: listens, hands the sockets over as descriptors 3, 4 ..., and executes.
ACTIVATE = """
import os, socket, sys
sockets = [
    socket.create_server(("127.0.0.1", 0)),
    socket.create_server(("::1", 0), family=socket.AF_INET6),
]
unix = socket.socket(socket.AF_UNIX)
unix.bind(sys.argv[1])
unix.listen()
sockets.append(unix)
copies = [os.dup2(s.fileno(), 50 + n) for n, s in enumerate(sockets)]
for number, copy in enumerate(copies):
    os.dup2(copy, 3 + number)
    os.close(copy)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="3", LISTEN_FDNAMES="a:b:c")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_sockets_of_systemd_are_served(tmp_path):
    """IPv4, IPv6 and Unix sockets of a .socket unit are listened on, instead of any address."""
    prefix = [sys.executable, "-c", ACTIVATE, str(tmp_path / "socket")]
    with running(tmp_path / "log", "--web.systemd-socket", prefix=prefix) as exporter:
        exporter.wait_for_log(r"listening on ", 3)
        ports = exporter.wait_for_log(r"listening on \S+:([0-9]+)", 2)
        assert get(int(ports[0]), "/-/healthy")[0] == 200
        assert get(int(ports[1]), "/-/healthy", host="::1")[0] == 200
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(tmp_path / "socket"))
            peer.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
            assert peer.recv(65536).startswith(b"HTTP/1.1 200")
        assert "10042" not in exporter.logged()


def test_without_sockets_of_systemd_nothing_is_served():
    """One clear line and exit code 1, not a service that nobody can reach."""
    done = subprocess.run(
        [*COMMAND, "--web.systemd-socket"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert 'level=error msg="systemd has given no socket: is there a .socket unit' in line


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
    ],
)
def test_sockets_of_somebody_else_are_not_taken(environ):
    """They are ours only where LISTEN_PID says so; the variables are gone afterwards."""
    with pytest.raises(CannotListen, match="has given no socket"):
        systemd.activated_sockets(environ)
    assert environ == {}


def test_what_does_not_listen_is_refused(monkeypatch):
    """A datagram socket, or a file, is an error that names it."""
    for opened in (socket.socket(type=socket.SOCK_DGRAM), socket.socket()):
        with opened:
            monkeypatch.setattr(systemd, "_FIRST", opened.detach())
            environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
            with pytest.raises(CannotListen, match=r"not a ListenStream="):
                systemd.activated_sockets(environ)


def test_a_file_is_no_socket(monkeypatch, tmp_path):
    """What systemd stored for somebody else is not served on."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(systemd, "_FIRST", descriptor)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    with pytest.raises(CannotListen, match=f"descriptor {descriptor} of systemd: "):
        systemd.activated_sockets(environ)
    os.close(descriptor)


@pytest.mark.parametrize("abstract", [False, True])
def test_readiness_is_told(tmp_path, abstract):
    """READY=1 comes when requests are answered, STOPPING=1 when no more are."""
    address = f"@netfilter_exporter-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": address}
        flag = "--web.listen-address=127.0.0.1:0"
        with running(tmp_path / "log", flag, environment=environment) as exporter:
            assert manager.recv(4096) == b"READY=1"
            assert get(exporter.ports[0], "/-/healthy")[0] == 200
            exporter.process.terminate()
            assert manager.recv(4096) == b"STOPPING=1"
            assert exporter.process.wait(20) == 0


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}])
def test_nobody_who_wants_to_know_is_no_error(environ):
    """Outside systemd nothing is told."""
    systemd.Manager(environ).notify("READY=1")


def test_a_unix_socket_has_a_name(tmp_path):
    """The log says its path."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert bound_address(listener) == str(tmp_path / "socket")
