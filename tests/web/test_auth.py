"""web/auth.py and web/passwords.py: who may ask, and how often."""

import base64
import statistics
import threading
import time

import bcrypt
import pytest

from netfilter_exporter.web import passwords
from netfilter_exporter.web.auth import Bucket
from netfilter_exporter.web.config import RateLimit
from support.passwords import basic, hashed
from support.serving import PATIENCE, collector, eventually


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
