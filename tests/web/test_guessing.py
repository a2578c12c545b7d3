"""web/passwords.py and web/auth.py: guesses hinder nobody, and neither does a hash that is slow."""

import contextlib
import socket
import sys
import threading
import time

import pytest

from netfilter_exporter.web import passwords
from support.passwords import basic, hashed
from support.process import ANY_PORT, running
from support.serving import PATIENCE, connect_from, eventually, receive_response, reset


@pytest.fixture
def held(monkeypatch):
    """Return checks as they begin, which wait until the event is set."""
    going_on, begun = threading.Event(), []

    def check(users, user, password, real=passwords._check):
        begun.append(password)
        assert going_on.wait(PATIENCE)
        return real(users, user, password)

    monkeypatch.setattr(passwords, "_check", check)
    yield begun, going_on
    going_on.set()


def ask(peer, user, password):
    head = f"GET /-/healthy HTTP/1.1\r\nHost: a\r\nAuthorization: {basic(user, password)}\r\n\r\n"
    peer.sendall(head.encode())


def status(peer):
    return int(receive_response(peer)[0].split()[1])


@pytest.fixture
def connect(serve, web_config):
    """Return a function that connects to a server with one user, from an address of loopback."""
    with contextlib.ExitStack() as stack:
        server = serve(web_config=web_config(f"basic_auth_users: {{alice: {hashed('secret')}}}"))

        def make(source="127.0.0.1"):
            return stack.enter_context(connect_from(source, server.port))

        make.server = server
        yield make


def queued(server, count):
    eventually(lambda: len(server.guard._passwords._queue) == count)


def test_the_same_password_at_the_same_time_is_checked_once(connect, held):
    """Twenty scrapes after a start cost one hash."""
    begun, going_on = held
    peers = [connect() for _ in range(20)]
    for peer in peers:
        ask(peer, "alice", "secret")
    eventually(lambda: len(connect.server.server._answering) == 20)
    going_on.set()
    assert [status(peer) for peer in peers] == [200] * 20
    assert begun == [b"secret"]


def guess(connect, count, source="127.0.0.1"):
    """Have as many peers show a wrong password each."""
    peers = [connect(source) for _ in range(count)]
    for number, peer in enumerate(peers):
        ask(peer, "alice", f"guess {number} of {source}")
    return peers


def test_guesses_do_not_hinder_who_is_known(connect, held):
    """A password that was right before is right at once, however many are guessed."""
    _, going_on = held
    going_on.set()
    known = connect()
    ask(known, "alice", "secret")
    assert status(known) == 200
    going_on.clear()
    guesses = guess(connect, 100)
    queued(connect.server, 64)
    ask(known, "alice", "secret")
    assert status(known) == 200
    going_on.set()
    assert {status(peer) for peer in guesses} == {401, 503}


def test_guesses_do_not_hinder_a_first_login_from_elsewhere(connect, held):
    """Though the queue is full, another address has its turn after the check that is under way."""
    begun, going_on = held
    guesses = guess(connect, 100)
    queued(connect.server, 64)
    prometheus = connect("127.0.0.2")
    ask(prometheus, "alice", "secret")
    eventually(lambda: len(connect.server.guard._passwords._queue._lanes) == 2)
    going_on.set()
    assert status(prometheus) == 200
    assert b"secret" in begun[:3]
    assert {status(peer) for peer in guesses} == {401, 503}


def test_a_guess_that_nobody_waits_for_makes_room(connect, held):
    """From the same address too: peers that guess and leave do not keep a full queue."""
    _, going_on = held
    guesses = guess(connect, 70)
    queued(connect.server, 64)  # or the late one could come before them
    for peer in guesses:
        reset(peer)
    eventually(lambda: not connect.server.server._answering)
    late = connect()
    ask(late, "alice", "secret")
    eventually(lambda: connect.server.server._answering)
    going_on.set()
    assert status(late) == 200


def test_who_leaves_during_the_check_is_known_afterwards(connect, held):
    """A scrape that times out behind guesses is the last that does: the check goes on."""
    begun, going_on = held
    guess(connect, 20)
    queued(connect.server, 19)
    impatient = connect()
    ask(impatient, "alice", "secret")
    queued(connect.server, 20)
    reset(impatient)
    going_on.set()
    eventually(lambda: b"secret" in begun)
    queued(connect.server, 0)
    later = connect()
    ask(later, "alice", "secret")
    assert status(later) == 200
    assert begun.count(b"secret") == 1


def test_guesses_do_not_use_up_the_limit_of_who_is_known(serve, web_config):
    """With rate_limit, requests without a known password have a limit apart."""
    text = f"basic_auth_users: {{alice: {hashed('secret')}}}\n"
    server = serve(web_config=web_config(text + "rate_limit: {interval: 1h, burst: 5}\n"))
    right = basic("alice", "secret")
    assert server.get("/-/healthy", authorization=right)[0] == 200
    guesses = [server.get("/", authorization=basic("alice", f"{n}"))[0] for n in range(10)]
    assert guesses == [401] * 4 + [429] * 6
    known = [server.get("/-/healthy", authorization=right)[0] for _ in range(6)]
    assert known == [200] * 5 + [429]


def test_stopping_waits_for_no_hash(connect, held):
    """Who waits for a check gets 503 at once when the server stops."""
    _, going_on = held
    guesses = guess(connect, 10)
    queued(connect.server, 9)
    began = time.monotonic()
    connect.server.stop()
    assert [status(peer) for peer in guesses] == [503] * 10
    eventually(connect.server.stopped)
    assert time.monotonic() - began < 2
    assert connect.server.guard.hashing
    going_on.set()


def test_the_process_ends_while_a_hash_is_computed(tmp_path, web_config):
    """Not even bcrypt itself, which nothing can interrupt, keeps the process."""
    module = tmp_path / "slow.py"
    module.write_text(
        "import sys, time\n"
        "from netfilter_exporter import cli\n"
        "from netfilter_exporter.web import passwords\n"
        "passwords._check = lambda *_: time.sleep(60)\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    file = web_config(f"basic_auth_users: {{alice: {hashed('secret')}}}")
    flags = [ANY_PORT, f"--web.config.file={file}"]
    command = [sys.executable, str(module)]
    with running(tmp_path / "log", *flags, command=command) as exporter:
        with socket.create_connection(("127.0.0.1", exporter.ports[0]), PATIENCE) as peer:
            ask(peer, "alice", "secret")
            time.sleep(0.3)
            began = time.monotonic()
            exporter.process.terminate()
            assert status(peer) == 503
        assert exporter.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 3
        assert "stopping" in exporter.logged()
        assert "level=error" not in exporter.logged()
        assert "Traceback" not in exporter.logged()
