"""Every command of every runbook, run on the state that the runbook is for: it does what is said.

Those that act on a whole machine are run in a guest with systemd: see tests/deploy/test_booted.py.
"""

import contextlib
import re

import pytest

from lab.advertiser import Advertiser
from support import needs, runbook_host, runbook_table, runbooks

TOOLS = (
    *("ip", "nsenter", "nft", "iptables-legacy", "iptables-nft", "conntrack", "curl"),
    *("tcpdump", "ping", "ipset", "rdisc6"),
)
#: Programs of RHEL, Alpine and Kubernetes.
OTHERS = re.compile(r" *(?:dnf|dracut|apk|rc-service|kubectl) ")
STATES = runbooks.states()
HERE = [state for state in STATES if state.of(runbooks.HERE)]


def test_no_command_is_left_out():
    """What is run, or listed as not run, are the commands of the runbooks, in their order."""
    written = {
        path.stem: [step.command for step in runbooks.steps(path.read_text())]
        for path in runbooks.runbooks()
    }
    listed = {state.runbook: [case.command for case in state.cases] for state in STATES}
    assert listed == {runbook: commands for runbook, commands in written.items() if commands}


def test_what_is_not_run_says_why():
    """And nothing else says so."""
    for state in STATES:
        for case in state.cases:
            assert (case.where == runbooks.NOWHERE) is bool(case.reason), case.command


def test_the_table_is_current():
    """`tests/run --update` writes it."""
    assert runbook_table.PATH.read_text() == runbook_table.page(STATES)


def test_lines_of_other_systems_are_marked():
    """And each of them is listed as not run."""
    for path in runbooks.runbooks():
        for line in path.read_text().splitlines():
            if OTHERS.match(line):
                assert "not run" in line or "(not run" in path.read_text().split(line)[0][-200:]


def test_a_page_says_how_to_install_conntrack():
    """Where one of its commands is conntrack's."""
    for state in STATES:
        if any(case.command.startswith("conntrack ") for case in state.cases):
            text = (runbooks.FOLDER / f"{state.runbook}.md").read_text()
            assert "package `conntrack`" in text, state.runbook


@pytest.mark.kernel
@pytest.mark.parametrize("state", HERE, ids=lambda state: state.runbook)
def test_a_command_does_what_is_said(state, tmp_path):
    """It says what it should, makes no table but where the step says so, and shows its effect."""
    if (reason := needs.root_and(*TOOLS)) is not None:
        needs.lacks(reason, forced=needs.KERNEL)
    with runbook_host.running(state, tmp_path) as host, contextlib.ExitStack() as stack:
        if state.advertises:
            stack.callback(Advertiser(host.router.server.name, "eth0", lifetime=1800).close)
        ended = [(case, host.run(case)) for case in state.of(runbooks.HERE)]
    wrong = [found for found in (runbooks.described(*one) for one in ended) if found]
    assert not wrong, "\n".join(wrong)
