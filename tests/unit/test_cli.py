"""flags.py, cli.py and logs.py: the command line, and what it says."""

import json
import logging
import re

import pytest

from netfilter_exporter import __version__, cli, collectors, flags, logs
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.web.listen import Address

FOUND = collectors.load()
DEFAULT = [name for name, each in FOUND.items() if each.by_default]


def parse(*argv):
    return flags.parse(argv, FOUND)


def error_of(capsys, *argv):
    """Return the one line with which a command line is refused."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_defaults():
    """Without flags: all collectors, no option, port 10042 of every address, /metrics."""
    chosen = parse()
    assert list(chosen.collectors) == DEFAULT
    assert chosen.options == frozenset()
    assert chosen.listen_addresses == (Address("", 10042),)
    assert chosen.telemetry_path == "/metrics"
    assert (chosen.max_requests, chosen.exporter_metrics) == (40, True)
    assert chosen.listen_max_rules == 2500
    assert not chosen.lifecycle
    assert chosen.paths == Paths("/proc", "/sys", "/")
    assert (chosen.log_level, chosen.log_format) == ("info", "logfmt")


def test_a_value_follows_a_blank_or_an_equals_sign():
    """Both forms are read, and a repeated address adds up."""
    chosen = parse("--web.listen-address", ":1", "--web.listen-address=[::1]:2")
    assert chosen.listen_addresses == (Address("", 1), Address("::1", 2))
    assert parse("--path.procfs", "/proc/self/root/proc").paths.procfs == "/proc/self/root/proc"
    assert parse("--path.rootfs=/tmp").paths.rootfs == "/tmp"


def test_where_nothing_is_mounted_nothing_is_told(capsys):
    """A mount that is missing must not look like a host without NAT; it may be while checking."""
    line = error_of(capsys, "--path.procfs=/nowhere")
    assert "--path.procfs: /nowhere is no procfs: it has no sys/kernel/osrelease" in line
    assert "--path.sysfs: /nowhere is no directory" in error_of(capsys, "--path.sysfs=/nowhere")
    assert "--path.rootfs: /nowhere is no directory" in error_of(capsys, "--path.rootfs=/nowhere")
    assert parse("--config.check", "--path.procfs=/nowhere").paths.procfs == "/nowhere"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--no-collector.nat"], [name for name in DEFAULT if name != "nat"]),
        (["--collector.disable-defaults", "--collector.nat"], ["nat"]),
        (["--collector.nat", "--collector.disable-defaults"], ["nat"]),
        (["--no-collector.nat", "--collector.nat"], DEFAULT),
        (["--collector.nat", "--collector.nat"], DEFAULT),
        (["--collector.disable-defaults"], []),
    ],
)
def test_collectors_are_switched_by_name(argv, expected):
    """The later of two contradicting switches wins; disable-defaults leaves what is named."""
    assert list(parse(*argv).collectors) == expected


def test_options_of_rows_are_flags():
    """Each opt-in of a row can be given, and none is on by itself."""
    options = {row.option for c in FOUND.values() for row in c.metrics} - {None}
    assert {option for c in FOUND.values() for option in c.options} == options
    assert parse(*(f"--collector.{option}" for option in sorted(options))).options == options
    assert options >= {"conntrack.per-cpu", "modules.references"}


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--web.listen-address=10042"], "'10042' is none of :PORT, HOST:PORT, [IPV6]:PORT"),
        (["--web.listen-address=:70000"], "port 70000 is larger than 65535"),
        (["--web.listen-addres=:1"], "unrecognized arguments: --web.listen-addres=:1"),
        (["--web.max-requests=-1"], "'-1' is not a whole number"),
        (["--web.max-requests=many"], "'many' is not a whole number"),
        (["--web.telemetry-path=metrics"], "'metrics' is not a path such as /metrics"),
        (["--web.telemetry-path=/-/healthy"], "'/-/healthy' is not a path such as /metrics"),
        (["--collector.nothing"], "unrecognized arguments: --collector.nothing"),
        (["--no-collector.disable-defaults"], "unrecognized arguments"),
        (["--log.level=loud"], "invalid choice: 'loud'"),
        (["--path.procfs"], "expected one argument"),
        (["nonsense"], "unrecognized arguments: nonsense"),
        (["--flows.interval=0"], "--flows.interval: '0' is not a number from 1 to 300"),
        (["--flows.sample-size=1"], "'1' is not a number from 16384 to 524288"),
    ],
)
def test_a_bad_flag_is_one_clear_line(capsys, argv, text):
    """What is wrong, in one line on stderr, and exit code 2; no abbreviation is guessed."""
    line = error_of(capsys, *argv)
    assert line.startswith("netfilter_exporter: error: ")
    assert line.endswith(", try --help")
    assert text in line


def test_version(capsys):
    """--version prints what the Prometheus project's programs print, and exits 0."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"netfilter_exporter, version {__version__}\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_flag(capsys, flag):
    """The help has groups, and each collector with both its switches."""
    with pytest.raises(SystemExit) as caught:
        cli.main([flag])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for group in ("general", "web", "collectors", "configuration", "paths", "log"):
        assert f"\n{group}:\n" in text
    for name in FOUND:
        assert f"--collector.{name}, --no-collector.{name}" in text


@pytest.fixture
def logging_kept():
    """Puts the root logger back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("logging_kept")
@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("nat: required\n", 0, 'level=info msg="the configuration is valid"'),
        ("nit: required\n", 1, "unknown key"),
        (None, 1, "No such file"),
    ],
)
def test_config_check(tmp_path, capsys, text, code, said):
    """--config.check says whether the file is good, and serves nothing."""
    file = tmp_path / "config.yml"
    if text is not None:
        file.write_text(text)
    assert cli.main([f"--config.file={file}", "--config.check"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert ("level=error" in line) is (code == 1)


@pytest.mark.usefixtures("logging_kept")
def test_a_bad_configuration_is_not_served(tmp_path, capsys):
    """Starting with a file that cannot be used ends with 1, before anything listens."""
    file = tmp_path / "config.yml"
    file.write_text("nat: maybe\n")
    assert cli.main([f"--config.file={file}", "--web.listen-address=127.0.0.1:0"]) == 1
    assert "listening" not in capsys.readouterr().err


def log(capsys, level, form):
    """Log a line of each kind and return what was written."""
    logs.setup(level, form)
    logger = logging.getLogger("netfilter_exporter.test")
    logger.debug("plain")
    logger.warning('said "%s"\n', "a=b")
    try:
        int("no")
    except ValueError:
        logger.exception("failed")
    return capsys.readouterr().err.splitlines()


@pytest.mark.usefixtures("logging_kept")
def test_logfmt(capsys):
    """One line an event, with time, level and message; what needs quotes has them."""
    plain, said, failed = log(capsys, "debug", "logfmt")
    assert re.fullmatch(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=debug msg=plain", plain)
    assert said.endswith(r'level=warn msg="said \"a=b\"\n"')
    assert re.search(r'level=error msg=failed error="ValueError.+" traceback="Traceback', failed)


@pytest.mark.usefixtures("logging_kept")
def test_json(capsys):
    """The same as an object a line; what is below the level is left out."""
    said, failed = map(json.loads, log(capsys, "warn", "json"))
    assert (said["level"], said["msg"]) == ("warn", 'said "a=b"\n')
    assert failed["traceback"].startswith("Traceback")
