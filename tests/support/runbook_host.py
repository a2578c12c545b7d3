"""A host in a namespace, in the state that a runbook is for, between a client and a server."""

from __future__ import annotations

import contextlib
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import netfilter_exporter
from support import inside
from support.namespace import Namespace
from support.paste import ON_THE_MACHINE, Pasted, Terminal
from support.router import CLIENT, Router
from support.runbooks import Case, Ended, State

#: A server of the internet, which the host reaches by wan0.
INTERNET = "1.1.1.1"
#: An answer to a first packet would be a reset, at which the kernel forgets the connection.
_SERVER = f"""
ip address add {INTERNET}/32 dev lo
nft 'add table ip t; add chain ip t c {{ type filter hook input priority 0; }}'
nft add rule ip t c meta l4proto tcp drop
"""
_HOST = "ip route add default via 198.51.100.2\n"
#: Fewer than three sources are not judged.
_SOURCES = (CLIENT, "10.77.0.3", "10.77.0.4")
_OWN = """\
#!/bin/sh
case "$*" in check) set -- check --interval 1;; esac
test "$1" != check || set -- "$@" --config.file="{configuration}"
PYTHONPATH="{path}" exec "{python}" -m netfilter_exporter "$@"
"""
_TABLES = """
nft list tables
sed 's/^/legacy /' /proc/net/ip_tables_names
sed 's/^/legacy6 /' /proc/net/ip6_tables_names
"""
_RULES = "nft -s list ruleset; iptables-legacy-save | grep -v '^[#:]' ||:"
#: The exporter of this tree is run.
_SPARED = tuple(name for name in ON_THE_MACHINE if name != "netfilter_exporter")


class Host:
    """The host; programs that act on the machine are noted, and nothing of /etc is written."""

    def __init__(self, state: State, router: Router, directory: Path) -> None:
        """Bring the router into the state; raises AssertionError."""
        self.router = router
        self._terminal = Terminal(router.router, directory / "terminal", _SPARED)
        self._terminal.add("netfilter_exporter", _own(state, directory))
        done = self._terminal.paste(f"set -e\n{_HOST}{state.host}")
        assert done.code == 0, f"{state.runbook}: {done.errors.decode()}"

    def run(self, case: Case) -> Ended:
        """Run a command, and those that show its effect."""
        tables, rules = self._tables(), self._rules()
        done = self._run(case)
        made, changed = self._tables() - tables, self._rules() != rules
        shown = {command: self._said(self._terminal.paste(command)) for command in case.then}
        return Ended(done.code, self._said(done), tuple(made), changed, shown)

    @staticmethod
    def _said(done: Pasted) -> str:
        return (done.output + done.errors).decode()

    def _run(self, case: Case) -> Pasted:
        """Run a command, and end one that would go on."""
        brief = f"timeout {case.seconds} sh -c {shlex.quote(case.line)}"
        if case.terminal:
            return self._terminal.paste(f"script -qec {shlex.quote(case.line)} /dev/null")
        return self._terminal.paste(brief if case.seconds else case.line)

    def _tables(self) -> set[str]:
        """Return the tables of both backends; neither program makes one."""
        return set(self.router.router.sh(_TABLES).splitlines())

    def _rules(self) -> str:
        """Return the rules of both backends, without their counters."""
        return self.router.router.sh(_RULES)


def _own(state: State, directory: Path) -> str:
    """Return a program that is the exporter of this tree, configured as the state has it."""
    file = directory / "config.yml"
    file.write_text(f"{state.configuration}\nnetwork_namespace: any\n")
    package = Path(netfilter_exporter.__file__).parents[1]
    return _OWN.format(configuration=file, path=package, python=sys.executable)


@contextlib.contextmanager
def running(state: State, directory: Path) -> Iterator[Host]:
    """Yield a host in a state, with its client and its server."""
    with contextlib.ExitStack() as stack:

        def make() -> Namespace:
            made = Namespace()
            stack.callback(made.close)
            return made

        router = Router(make)
        router.server.sh(_SERVER)
        router.client.sh("".join(f"ip address replace {a}/24 dev eth0;" for a in _SOURCES))
        host = Host(state, router, directory)
        if state.traffic:
            stack.enter_context(_traffic(router))
        yield host


@contextlib.contextmanager
def _traffic(router: Router) -> Iterator[None]:
    """Have the client begin connections to the internet until the end."""
    ended = threading.Event()

    def connect() -> None:
        for source in _SOURCES:
            router.client.call(inside.connect, source, INTERNET, 443)

    def go_on() -> None:
        while not ended.wait(0.05):
            connect()

    connect()
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
