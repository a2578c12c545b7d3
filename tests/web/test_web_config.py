"""web/config.py and web/tls_config.py: the file means what exporter-toolkit says, or is refused."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter import cli
from netfilter_exporter.config.yaml_reader import ConfigError
from netfilter_exporter.web import config, passwords
from netfilter_exporter.web.config import Http, RateLimit, WebConfig
from netfilter_exporter.web.tls_config import CIPHER_SUITES, ClientAuth, Curve, Pem, Version
from netfilter_exporter.web.web_file import WebFile

pytestmark = pytest.mark.usefixtures("logging_kept")

FIXTURES = Path(__file__).parents[1] / "fixtures" / "web_config"
GOOD = sorted(FIXTURES.glob("good-*.yml"))
BAD = sorted(FIXTURES.glob("bad-*.yml"))


def good(name):
    return config.load(str(FIXTURES / f"good-{name}.yml"))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_what_is_right_starts_and_passes_the_check(path, web_config, start, capsys):
    """The check calls the file good, and the exporter serves with it."""
    flag = f"--web.config.file={web_config(path.read_text())}"
    assert cli.main([flag, "--config.check"]) == 0
    assert "level=error" not in capsys.readouterr().err
    assert start(flag) == 0
    said = capsys.readouterr().err
    assert "listening on 127.0.0.1:" in said
    assert "level=error" not in said


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_what_is_wrong_neither_starts_nor_passes_the_check(path, web_config, start, capsys):
    """Both name the file, the line, the column, the key, and what is allowed there."""
    text, expected = path.read_text().split("# error: ", 1)
    file = web_config(text)
    for run in (start, lambda flag: cli.main([flag, "--config.check"])):
        assert run(f"--web.config.file={file}") == 1
        (line,) = capsys.readouterr().err.splitlines()
        said = re.search(r'level=error msg="(.*)"$', line)[1].encode().decode("unicode_escape")
        assert said.replace(f"{file.parent}/", "") == f"web.yml:{expected.rstrip()}"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_no_message_shows_a_secret(path, web_config):
    """What stands where a password or a key belongs is in no log."""
    with pytest.raises(ConfigError) as raised:
        WebFile(str(web_config(path.read_text().split("# error: ", 1)[0])))
    assert "hunter2" not in str(raised.value)


def test_the_check_tells_of_both_files(tmp_path, capsys):
    """One run shows what is wrong with either configuration."""
    for name in ("config.yml", "web.yml"):
        (tmp_path / name).write_text("wrong: 1\n")
    flags = [f"--config.file={tmp_path}/config.yml", f"--web.config.file={tmp_path}/web.yml"]
    assert cli.main([*flags, "--config.check"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "config.yml:1:1: wrong: unknown key" in first
    assert "web.yml:1:1: wrong: unknown key" in second


@pytest.mark.parametrize("name", ["empty", "only-comments", "empty-sections"])
def test_nothing_is_plain_http_for_everybody(name):
    """An empty file, and empty sections, ask for nothing."""
    assert good(name) == WebConfig()


def test_defaults_of_tls():
    """Certificate and key suffice; TLS 1.2 and 1.3, and no certificates of clients."""
    tls = good("tls").tls
    assert (tls.cert, tls.key) == (
        Pem(str(FIXTURES / "cert.pem")),
        Pem(str(FIXTURES / "key.pem")),
    )
    assert (tls.min_version, tls.max_version) == (Version.TLS12, Version.TLS13)
    assert tls.client_auth_type is ClientAuth.NONE
    assert tls.prefer_server_cipher_suites


def test_relative_paths_start_at_the_folder_of_the_file():
    """An absolute path stays, whatever folder the exporter was started in."""
    text = "tls_server_config: {cert_file: a.pem, key_file: /etc/b.pem}"
    assert config.parse(text, "/srv/web.yml").tls.cert.file == "/srv/a.pem"
    assert config.parse(text, "/srv/web.yml").tls.key.file == "/etc/b.pem"
    assert config.parse(text, "web.yml").tls.cert.file == "a.pem"


def test_a_choice_of_tls13_ciphers_alone_leaves_tls13_alone():
    """As in Go: where no cipher of TLS 1.2 is allowed, TLS 1.2 cannot be spoken."""
    assert good("tls-ciphers-of-tls13").tls.min_version is Version.TLS13


def test_the_rest_of_the_format():
    """Each key arrives where it belongs."""
    assert good("tls-curve").tls.curve_preferences == (Curve.P384,)
    assert not good("tls-ciphers").tls.prefer_server_cipher_suites
    assert good("tls-client-names").tls.client_allowed_sans == ("prometheus.example", "2001:db8::1")
    assert good("rate-limit").rate_limit == RateLimit(90, 20)
    assert good("http2").http == Http(http2=True)
    assert [name for name, _ in good("users").users] == ["alice", "José"]
    names = [name for name, _ in good("headers").http.headers]
    assert "X-Frame-Options" in names
    assert "X-XSS-Protection" not in names  # blank: not sent


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100ms", 0.1), ("1s", 1), ("1.5s", 1.5), ("2m", 120), ("1h1m1s", 3661), ("250us", 0.00025)],
)
def test_durations_are_those_of_go(text, seconds):
    """Number and unit, as often as one likes."""
    parsed = config.parse(f"rate_limit: {{interval: {text}, burst: 1}}", "f")
    assert parsed.rate_limit.interval == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["1", "1 s", "s", "-1s", "1d", "1s1", "1e3s", "٣s"])
def test_what_is_no_duration_is_refused(text):
    """Nothing is guessed of a number without a unit, or with another."""
    with pytest.raises(ConfigError, match="not a duration"):
        config.parse(f"rate_limit: {{interval: '{text}', burst: 1}}", "f")


def test_http2_is_taken_with_a_warning(web_config, caplog):
    """Who asks for HTTP/2 hears that there is none; who does not, hears nothing."""
    WebFile(str(web_config("http_server_config: {http2: true}")))
    assert "only HTTP/1.1 is served" in caplog.text
    caplog.clear()
    WebFile(str(web_config("http_server_config: {http2: false}")))
    assert caplog.text == ""


def test_users_without_bcrypt_are_refused(web_config, monkeypatch):
    """Without the optional package nobody could be let in: the message says what to install."""

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(passwords.importlib, "import_module", absent)
    file = web_config((FIXTURES / "good-users.yml").read_text())
    with pytest.raises(ConfigError, match=r"install netfilter_exporter\[auth\]"):
        WebFile(str(file))
    WebFile(str(web_config("rate_limit: {interval: 1s, burst: 1}")))  # needs none


def test_every_cipher_is_one_of_this_openssl(web_config):
    """Each of Go's names is translated to one that OpenSSL has."""
    text = (FIXTURES / "good-tls.yml").read_text()
    names = "".join(f"    - {name}\n" for name in CIPHER_SUITES)
    side = WebFile(str(web_config(f"{text}  cipher_suites:\n{names}"))).current().tls
    offered = {cipher["name"] for cipher in side.context.get_ciphers()}
    assert offered >= {name for name in CIPHER_SUITES.values() if name}


@given(st.text(max_size=300) | st.sampled_from([p.read_text() for p in GOOD]))
def test_any_text_is_a_configuration_or_an_error(text):
    """Whatever a file holds, the outcome is a WebConfig or a ConfigError."""
    try:
        parsed = config.parse(text, "f")
    except ConfigError:
        return
    assert isinstance(parsed, WebConfig)
