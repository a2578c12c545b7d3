"""What a person, a program and a terminal get of a report; and how the command is used."""

import dataclasses
import io
import json
import re
import time
import types

import pytest

from netfilter_exporter import cli
from netfilter_exporter.check import command, document, text
from netfilter_exporter.check.alerts import ALERTS
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.proof import Proof
from netfilter_exporter.check.report import evaluate
from netfilter_exporter.kernel.system import System
from support import checks

ESCAPE = "\x1b["

OF_HOSTS = [alert for alert in ALERTS if not alert.of_namespaces]


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def run(fake_host, monkeypatch, capsys):
    """Return a function that runs the command on a recorded host: its exit code and output."""

    def check(name, *flags):
        host = fake_host(name)
        monkeypatch.setattr(command, "System", lambda _: host.system)
        code = cli.main(["check", "--interval", "0", *flags])
        return code, capsys.readouterr().out

    return check


@pytest.fixture
def required(tmp_path):
    """The flag for a configuration that says that the host must NAT."""
    file = tmp_path / "required.yml"
    file.write_text("nat: required\n")
    return f"--config.file={file}"


@pytest.fixture
def report(fake_host):
    """A report that has everything."""
    return checks.check(fake_host("4.9/ipv4-module-forced-out"))


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that puts a terminal in the place of stdout."""
    monkeypatch.delenv("NO_COLOR", raising=False)

    def make():
        made = Terminal()
        monkeypatch.setattr("sys.stdout", made)
        return made

    return make


# -- text --------------------------------------------------------------------------------------


def test_the_verdict_comes_first(run, required):
    """The first line is the verdict; then what is healthy, the problems, and what is unknown."""
    code, out = run("6.1/forward-off", required)
    lines = out.splitlines()
    assert code == 2
    assert lines[0] == (
        "NAT is broken: IPv4: 5 NAT rules for forwarded traffic, and no interface forwards"
        " (and 1 more)"
    )
    order = ["Healthy", "Problems", "Not checked"]
    assert [line for line in lines if line in order] == order
    at = lines.index("  CRITICAL NetfilterNatForwardingDisabled")
    assert lines[at + 2].startswith("    why: net.ipv4.ip_forward is 0")
    assert "      sysctl -w net.ipv4.ip_forward=1" in lines[at:]


@pytest.mark.parametrize(
    ("name", "code", "first"),
    [
        (
            "6.1/nat-legacy",
            0,
            r"No fault found: IPv4 4 rules, tracking proven\. No translation was obs",
        ),
        ("6.1/nat-nft", 1, r"NAT needs attention: NAT rules name the interface wan1"),
        ("6.1/table-full", 2, r"NAT is broken: The table of connections is 100% full"),
        ("6.1/idle", 3, r"Cannot determine whether NAT works: .*: set nat: required or nat: none"),
    ],
)
def test_the_exit_code_is_a_plugins(run, name, code, first):
    """0 is ok, 1 a warning, 2 critical, 3 unknown."""
    got, out = run(name)
    assert got == code
    assert re.match(first, out)


@pytest.mark.parametrize("width", [60, 80])
def test_plain_lines_fit(report, width):
    """What is no command is wrapped; commands never are, for they are to be pasted."""
    lines = text.render(report, colour=False, width=width).splitlines()
    first, *rest = lines
    assert first == report.verdict
    assert all(len(line) <= width for line in rest if not line.startswith("      "))
    assert "      modprobe nf_conntrack_ipv4" in lines


# -- colour ------------------------------------------------------------------------------------


def test_no_colour_in_a_pipe(run):
    """What is not a terminal gets plain text."""
    assert ESCAPE not in run("6.1/table-full")[1]


def test_colour_on_a_terminal(fake_host, monkeypatch, terminal):
    """A terminal gets colour, unless it is asked not to."""
    host = fake_host("6.1/table-full")
    monkeypatch.setattr(command, "System", lambda _: host.system)
    shown = terminal()
    cli.main(["check", "--interval=0"])
    assert shown.getvalue().startswith(ESCAPE)
    for flags, environment in ((["--no-color"], ""), ([], "1")):
        monkeypatch.setenv("NO_COLOR", environment)
        shown = terminal()
        cli.main(["check", "--interval=0", *flags])
        assert shown.getvalue().startswith("NAT is broken")
        assert ESCAPE not in shown.getvalue()


# -- JSON --------------------------------------------------------------------------------------


def test_json_is_stable(run, required):
    """The keys are those of exporter/CHECK.md."""
    code, out = run("6.1/forward-off", "--json", required)
    got = json.loads(out)
    assert list(got) == [
        "schema",
        "status",
        "exit_code",
        "verdict",
        "interval_seconds",
        "proof",
        "works",
        "not_checked",
        "findings",
        "silent",
    ]
    assert (got["schema"], got["status"], got["exit_code"], code) == (1, "critical", 2, 2)
    assert got["proof"] == "configured"
    assert list(got["findings"][0]) == [
        "alert",
        "severity",
        "summary",
        "why",
        "evidence",
        "remedy",
    ]
    severities = [finding["severity"] for finding in got["findings"]]
    assert severities == sorted(severities, key=["critical", "warning", "info", "unknown"].index)


def test_json_and_text_tell_the_same(run, required):
    """Every summary and every command of one is in the other."""
    plain = " ".join(run("6.1/forward-off", required)[1].split())
    document = json.loads(run("6.1/forward-off", "--json", required)[1])
    assert document["not_checked"]
    assert all(line in plain for line in (*document["works"], *document["not_checked"]))
    for finding in document["findings"]:
        assert finding["summary"] in plain
        assert all(" ".join(line.split()) in plain for line in finding["remedy"])


def test_every_alert_is_accounted_for(report):
    """An alert is found, untold or silent, never forgotten, but for those of --netns."""
    got = document.document(report)
    told = {finding["alert"] for finding in got["findings"]}
    assert len(told) + len(got["silent"]) == len(told | set(got["silent"])) == len(OF_HOSTS)


# -- proof ------------------------------------------------------------------------------------


def test_proof_that_is_required(run):
    """A fault keeps its code, a host without one is unknown until a translation was observed."""
    code, out = run("6.1/nat-legacy", "--require-proof")
    assert code == 3
    assert out.startswith("Cannot determine whether NAT works: no translation was observed")
    assert run("6.1/nat-legacy")[0] == 0
    assert run("6.1/nat-nft", "--require-proof")[0] == 1


@pytest.mark.parametrize(
    ("translated", "proof", "code", "verdict"),
    [
        (
            3,
            Proof.OBSERVED,
            0,
            "NAT works: 3 of 4 new outbound IPv4 connections translated, 75% answered. ",
        ),
        (0, Proof.CONFIGURED, 3, "Cannot determine whether NAT works: no translation"),
    ],
)
def test_translations_that_were_observed(fake_host, translated, proof, code, verdict):
    """One new connection that was translated proves NAT, and only that does."""
    run = checks.scrape(fake_host("6.1/nat-legacy"))
    seen = checks.new_flows(translated=translated, lost=4 - translated)
    made = evaluate(Context(run, flows=seen), require_proof=True)
    assert (made.proof, made.exit_code) == (proof, code)
    assert made.verdict.startswith(verdict)
    assert (made.not_checked == ()) is bool(translated)


def test_no_proof_where_nat_is_not_wanted(run, tmp_path):
    """A host that must not translate has nothing to prove."""
    file = tmp_path / "none.yml"
    file.write_text("nat: none\n")
    code, out = run("6.1/idle", "--require-proof", f"--config.file={file}", "--json")
    assert (code, json.loads(out)["proof"]) == (0, "none")


# -- rates and watching ------------------------------------------------------------------------


@pytest.fixture
def naps(monkeypatch):
    """The seconds that the command slept; after the third nap comes Ctrl-C."""
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) > 2:
            raise KeyboardInterrupt

    clock = types.SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr(command, "time", clock)
    return slept


def test_rates_are_measured_over_the_interval(fake_host, monkeypatch, capsys, naps):
    """Between the two readings lies --interval, 2 s if it is not given; 0 measures none."""
    host = fake_host("6.1/nat-legacy")
    monkeypatch.setattr(command, "System", lambda _: host.system)
    assert cli.main(["check", "--json"]) == 0
    assert naps == [2.0]
    got = json.loads(capsys.readouterr().out)
    assert got["interval_seconds"] > 0
    assert "NetfilterConntrackDropping" in got["silent"]
    assert cli.main(["check", "--json", "--interval=0"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["interval_seconds"] is None
    assert "NetfilterConntrackDropping" not in got["silent"]
    assert naps == [2.0]


def test_watching_until_ctrl_c(fake_host, monkeypatch, capsys, naps):
    """--watch looks again and again, each a line of JSON; Ctrl-C ends it with the last code."""
    host = fake_host("6.1/table-full")
    monkeypatch.setattr(command, "System", lambda _: host.system)
    assert cli.main(["check", "--json", "--watch", "5"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["exit_code"] for line in lines] == [2, 2]
    assert len(naps) == 3
    assert min(naps[1:]) == 5.0  # a look that takes long is followed by a longer rest


def test_watching_a_terminal_redraws(fake_host, monkeypatch, terminal, naps):
    """On a terminal the screen is cleared for each look."""
    host = fake_host("6.1/nat-legacy")
    monkeypatch.setattr(command, "System", lambda _: host.system)
    shown = terminal()
    assert cli.main(["check", "--watch"]) == 0
    assert shown.getvalue().count(f"{ESCAPE}H{ESCAPE}2J") == 2
    assert (len(naps), min(naps)) == (3, 2.0)  # likewise


def test_watching_costs_little(fake_host, monkeypatch, capsys, naps):
    """After a look that took long it rests nine times as long, however short SECONDS is."""
    host = fake_host("6.1/nat-legacy")
    ticks = iter(range(0, 1000, 10))
    monkeypatch.setattr(command, "System", lambda _: host.system)
    monkeypatch.setattr(command.time, "monotonic", ticks.__next__)
    cli.main(["check", "--watch", "1", "--interval=0"])
    assert capsys.readouterr().out
    assert naps == [90, 90, 90]


# -- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        ["--nonsense"],
        ["--interval=-1"],
        ["--interval=nan"],
        ["--watch=0"],
        ["--watch=soon"],
        ["surplus"],
        ["--config.fil=x"],
    ],
)
def test_wrong_usage_is_unknown(flags, capsys):
    """A typing error must not look like a warning or a critical state: 3, and one line."""
    assert cli.main(["check", *flags]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bad_configuration_is_unknown(tmp_path, capsys):
    """The place of the mistake is told."""
    file = tmp_path / "bad.yml"
    file.write_text("nat: sometimes\n")
    assert cli.main(["check", f"--config.file={file}"]) == 3
    assert f"{file}:1:6" in capsys.readouterr().err


def test_help(capsys):
    """--help tells the flags and the exit codes."""
    assert cli.main(["check", "--help"]) == 3
    out = capsys.readouterr().out
    for word in "--config.file", "--json", "--watch", "--interval", "--no-color", "--path.procfs":
        assert word in out
    assert "3 (unknown" in out


def test_letters_that_the_terminal_lacks(fake_host, monkeypatch, report):
    """In a locale without them, letters of a name are escaped rather than an end."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    named = dataclasses.replace(report, verdict="NAT \u00dcbergang")
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(command.report, "evaluate", lambda _, **__: named)
    monkeypatch.setattr(command, "System", lambda _: fake_host("6.1/idle").system)
    assert cli.main(["check", "--interval=0"]) == 2
    out.seek(0)
    assert out.readline().startswith("NAT \\xdcbergang")


def test_the_paths_are_those_of_the_exporter(monkeypatch, tmp_path):
    """--path.* mean what they mean for the exporter."""
    seen = []

    def system(paths):
        seen.append(paths)
        return System(paths)

    monkeypatch.setattr(command, "System", system)
    mark = tmp_path / "proc/sys/kernel/osrelease"
    mark.parent.mkdir(parents=True)
    mark.write_text("6.1.0\n")
    procfs, rootfs = str(tmp_path / "proc"), str(tmp_path)
    cli.main(["check", "--interval=0", f"--path.procfs={procfs}", f"--path.rootfs={rootfs}"])
    assert seen[0]._asdict() == {"procfs": procfs, "sysfs": "/sys", "rootfs": rootfs}


def test_a_procfs_that_is_none_gives_no_verdict(capsys):
    """A mount that is missing must not look like a host without NAT."""
    assert cli.main(["check", "--interval=0", "--path.procfs=/nowhere"]) == 3
    assert "--path.procfs: /nowhere is no procfs" in capsys.readouterr().err
