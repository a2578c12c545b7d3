"""1 and 2 are findings: whatever fails, `check` exits with 3, as a monitoring plugin does."""

import os
import re
import subprocess
import sys

import pytest

from netfilter_exporter.check import command, plugin


@pytest.fixture
def shell(tmp_path):
    """Return a function that runs the command, on a host with critical findings, in a shell."""
    program = tmp_path / "check"
    program.write_text(
        f"""#!{sys.executable}
import sys, tempfile
sys.path[:0] = {[entry for entry in sys.path if entry]!r}
from netfilter_exporter import cli
from netfilter_exporter.check import command
from support.host import FakeHost
host = FakeHost("6.1/forward-off", tempfile.mkdtemp(dir={str(tmp_path)!r}))
command.System = lambda _: host.system
role = "--config.file={tmp_path}/role.yml"
sys.exit(cli.main(["check", "--interval=0", role, *sys.argv[1:]]))
"""
    )
    program.chmod(0o755)
    (tmp_path / "role.yml").write_text("nat: required\n")

    def run(script):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "CHECK": str(program)},
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_finding_is_no_failure(shell):
    """The host of these tests is critical: 2, where the whole report is written."""
    code, out, errors = shell('"$CHECK"')
    assert (code, errors) == (2, "")
    assert out.startswith("NAT is broken")
    assert shell('"$CHECK" | head -c 3') == (2, "NAT", "")  # a pipe holds the whole report


@pytest.mark.parametrize("flag", ["", "--json --watch=0.5"])
def test_a_reader_that_went_away(shell, flag):
    """What nobody reads is unknown, and without a word: the reader had seen enough."""
    assert shell(f'"$CHECK" {flag} | true')[::2] == (3, "")


def test_a_reader_that_leaves_in_between(shell):
    """With --watch the first report is read, and the command ends at the next one."""
    code, out, errors = shell('"$CHECK" --json --watch=0.5 | head -n 1')
    assert (code, errors, out.count("\n")) == (3, "", 1)


@pytest.mark.parametrize("flag", ["", "--json", "--help"])
@pytest.mark.parametrize(
    ("output", "reason"),
    [(">/dev/full", "No space left on device"), (">&-", "standard output is closed")],
)
def test_output_that_cannot_be_written(shell, flag, output, reason):
    """A full disk and a closed output are unknown; standard error says why."""
    code, out, errors = shell(f'"$CHECK" {flag} {output}')
    assert (code, out) == (3, "")
    if flag != "--help":  # which argparse writes elsewhere, or gives up, as it likes
        assert errors == f"cannot write the result: {reason}\n"


@pytest.mark.parametrize("errors", ["2>/dev/full", "2>&-"])
@pytest.mark.parametrize("what", ["--nonsense", "--config.file=/nowhere", ">&-"])
def test_nowhere_to_say_why(shell, what, errors):
    """Without standard error it is unknown all the same."""
    assert shell(f'"$CHECK" {what} {errors}') == (3, "", "")


@pytest.mark.parametrize("error", [RuntimeError("a defect"), RecursionError(), MemoryError()])
def test_a_defect_is_unknown(monkeypatch, capsys, error):
    """Whatever was not foreseen: 3, and a traceback on standard error for the report of the bug."""

    def fail(*_):
        raise error

    monkeypatch.setattr(command, "Checker", fail)
    assert command.main(["--interval=0"]) == 3
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("Traceback")
    assert type(error).__name__ in errors.splitlines()[-1]


def test_ctrl_c_before_anything_is_known(monkeypatch, capsys):
    """An end before the first report says nothing of the host."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "Checker", interrupt)
    assert command.main(["--interval=0"]) == 3
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("flags", [["--help"], ["--nonsense"], ["--watch=0"]])
def test_what_checks_nothing_is_never_ok(capsys, flags):
    """--help too: in a monitoring configuration it would be green for ever."""
    assert command.main(flags) == plugin.UNKNOWN
    said = "".join(capsys.readouterr())
    assert re.search("usage|error", said)
