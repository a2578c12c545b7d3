"""web/auth.py and web/passwords.py: who may ask, and how often."""

import base64
import contextlib
import socket
import statistics
import sys
import threading
import time

import bcrypt
import pytest

from netfilter_exporter.web import passwords
from netfilter_exporter.web.auth import Bucket
from netfilter_exporter.web.config import RateLimit
from support.process import ANY_PORT, running
from support.serving import PATIENCE, collector, eventually, receive_response, reset


def hashed(password, cost=4):
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def server(serve, web_config):
    """A server with two users."""
    text = f"basic_auth_users:\n  alice: {hashed('secret')}\n  José: {hashed('päss:word')}\n"
    return serve(web_config=web_config(text))


# -- passwords ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("user", "password"), [("alice", "secret"), ("José", "päss:word")])
def test_the_right_password_is_let_in(server, user, password):
    """Names and passwords are UTF-8, and a password may have a colon."""
    for _ in range(2):
        assert server.get(authorization=basic(user, password))[0] == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("alice", "secret\0"),
        basic("bob", "secret"),
        basic("", ""),
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Bearer " + base64.b64encode(b"alice:secret").decode(),
        "Basic é",
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/nothing"])
def test_nobody_else_is(server, authorization, path):
    """Every page asks for the password, and does not say whether the page or the user exists."""
    for _ in range(2):  # from memory too
        status, headers, body = server.get(path, authorization=authorization)
        assert (status, body) == (401, b"unauthorized\n")
        assert headers["WWW-Authenticate"].startswith("Basic realm=")


def test_a_long_password_counts_to_its_72nd_byte(serve, web_config):
    """As in every bcrypt: what is longer is cut, not refused."""
    text = f"basic_auth_users: {{alice: {hashed('x' * 72)}}}"
    server = serve(web_config=web_config(text))
    assert server.get(authorization=basic("alice", "x" * 100))[0] == 200
    assert server.get(authorization=basic("alice", "x" * 71))[0] == 401


def median_time(server, authorizations):
    took = []
    for authorization in authorizations:
        began = time.perf_counter()
        server.get("/-/healthy", authorization=authorization)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


class CountingBcrypt:
    """The package, and the rounds that were asked of it."""

    def __init__(self):
        self.rounds = 0

    def checkpw(self, password, hashed_password):
        self.rounds += 2 ** int(hashed_password[4:6])
        return bcrypt.checkpw(password, hashed_password)


USERS = {b"cheap": hashed("secret", 4).encode(), b"dear": hashed("secret", 7).encode()}


@pytest.fixture
def rounds(monkeypatch):
    """Return a function that checks a password, and returns the verdict and the rounds it took."""

    def check(user, password):
        counting = CountingBcrypt()
        monkeypatch.setattr(passwords, "import_bcrypt", lambda: counting)
        return passwords._check(USERS, user.encode(), password.encode()), counting.rounds

    return check


@pytest.mark.parametrize(("user", "cost"), [("cheap", 4), ("dear", 7)])
@pytest.mark.parametrize("password", ["secret", "wrong", "", "x" * 100, "se\0cret"])
def test_a_user_waits_for_its_own_hash_alone(rounds, user, cost, password):
    """Right or wrong, a check takes the rounds of the user's hash, not of the costliest one."""
    assert rounds(user, password) == (password == "secret", 2**cost)


def test_time_tells_nothing(rounds):
    """A name that is unknown has the cost of one of the users, always the same."""
    names = [f"nobody{number}" for number in range(30)]
    taken = [rounds(name, "wrong") for name in names]
    assert set(taken) == {(False, 2**4), (False, 2**7)}
    assert [rounds(name, "other") for name in names] == taken


def test_time_tells_nothing_by_the_clock(serve, web_config):
    """Where all hashes cost the same, known and unknown users wait the same."""
    text = f"basic_auth_users: {{alice: {hashed('secret', 10)}, bob: {hashed('secret', 10)}}}"
    server = serve(web_config=web_config(text))
    users = ("alice", "bob", "nobody")
    times = [median_time(server, [basic(user, f"wrong {n}") for n in range(5)]) for user in users]
    assert max(times) < 3 * min(times)


def test_who_was_let_in_waits_no_more(serve, web_config):
    """The second time takes no hash; nor does a wrong password that is shown again."""
    server = serve(web_config=web_config(f"basic_auth_users: {{alice: {hashed('secret', 10)}}}"))
    for password in ("secret", "wrong"):
        first = median_time(server, [basic("alice", password)])
        assert median_time(server, [basic("alice", password)] * 5) < first / 4


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
            address = ("127.0.0.1", server.port)
            peer = socket.create_connection(address, PATIENCE, source_address=(source, 0))
            return stack.enter_context(peer)

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
    for peer in guess(connect, 70):
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


def test_memory_of_guesses_is_bounded(serve, web_config, monkeypatch):
    """The oldest is forgotten, and never a right one for a wrong one."""
    monkeypatch.setattr(passwords, "_REMEMBERED", 3)
    server = serve(web_config=web_config(f"basic_auth_users: {{alice: {hashed('secret')}}}"))
    server.get(authorization=basic("alice", "secret"))
    for number in range(10):
        server.get(authorization=basic("alice", str(number)))
    known = server.guard._passwords
    assert (len(known._right), len(known._wrong)) == (1, 3)


@pytest.mark.usefixtures("at_once")
def test_a_password_that_was_changed_is_no_longer_right(serve, web_config):
    """What was remembered is of the hash that stood in the file then."""
    server = serve(web_config=web_config(f"basic_auth_users: {{alice: {hashed('old one')}}}"))
    assert server.get(authorization=basic("alice", "old one"))[0] == 200
    web_config(f"basic_auth_users: {{alice: {hashed('the new one')}}}")
    assert server.get(authorization=basic("alice", "old one"))[0] == 401
    assert server.get(authorization=basic("alice", "the new one"))[0] == 200


# -- how often ---------------------------------------------------------------------------------


def test_above_the_limit_is_429(serve, web_config):
    """The burst is served, what is more is told to come back later."""
    server = serve(web_config=web_config("rate_limit: {interval: 1h, burst: 3}"))
    assert [server.get("/-/healthy")[0] for _ in range(5)] == [200, 200, 200, 429, 429]


def test_a_token_comes_back_each_interval():
    """And never more than the burst."""
    now = [0.0]
    bucket = Bucket(RateLimit(interval=2, burst=2), lambda: now[0])
    assert [bucket.allows() for _ in range(3)] == [True, True, False]
    now[0] = 1.9
    assert not bucket.allows()
    now[0] = 2.1
    assert [bucket.allows() for _ in range(2)] == [True, False]
    now[0] = 1000
    assert [bucket.allows() for _ in range(3)] == [True, True, False]


@pytest.mark.usefixtures("at_once")
def test_reading_the_file_again_fills_no_bucket(serve, web_config):
    """Only another limit is a fresh start."""
    text = "rate_limit: {interval: 1h, burst: 1}"
    server = serve(web_config=web_config(text))
    assert server.get("/-/healthy")[0] == 200
    web_config(text + "\n")
    assert server.get("/-/healthy")[0] == 429
    web_config("rate_limit: {interval: 1h, burst: 2}")
    assert server.get("/-/healthy")[0] == 200


# -- headers -----------------------------------------------------------------------------------


def test_headers_are_on_every_answer(serve, web_config):
    """Pages and errors have them; what a page sets itself is replaced, not repeated."""
    text = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
    server = serve(
        web_config=web_config(text + "    Content-Security-Policy: default-src 'self'\n")
    )
    for path in ("/metrics", "/", "/nothing", "/metrics?collect[]=nothing"):
        headers = server.get(path)[1]
        assert headers.get_all("X-Frame-Options") == ["deny"]
        assert headers.get_all("Content-Security-Policy") == ["default-src 'self'"]
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]


def test_a_peer_that_leaves_behind_a_guard_harms_nobody(serve, web_config):
    """Its collection is given up like that of any other."""
    going_on = threading.Event()
    slow = collector("slow", lambda _: int(going_on.wait(PATIENCE)))
    config = web_config("http_server_config: {headers: {X-Frame-Options: deny}}")
    server = serve(slow, web_config=config)
    peer = server.connect()
    peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually(lambda: server.server._answering)
    peer.close()
    going_on.set()
    assert server.get()[0] == 200
