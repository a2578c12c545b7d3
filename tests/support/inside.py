"""What runs inside a network namespace: a process that does what a test asks of it.

Started as ``python -m support.inside``; see support.namespace. Functions that are called in it are
named here, or in a test module, and what they take and return can be pickled.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import itertools
import os
import pickle
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from netfilter_exporter import collectors
from netfilter_exporter.check.command import Checker
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.document import document
from netfilter_exporter.check.report import Report, evaluate
from netfilter_exporter.collection import Gatherer, Run
from netfilter_exporter.config import model as config
from netfilter_exporter.exporter_metrics import page_families
from netfilter_exporter.exposition import Exposition
from netfilter_exporter.facts.modules import netfilter
from netfilter_exporter.facts.namespaces import make_sampler
from netfilter_exporter.facts.rulesets import legacy_ipv4, legacy_ipv6, nftables
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel import kept_files
from netfilter_exporter.kernel.conntrack.probe import tracks
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.sampler import NamespaceSampler, Sample
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.passage import Passage
from netfilter_exporter.rules.reachability import RulesetFacts

CAP_NET_ADMIN = 12
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 4, 8
_NOBODY = 65534


@functools.cache
def host() -> Host:
    """Return the host as this process sees it; one for all its scrapes."""
    return Host(System())


@functools.cache
def _gatherer() -> Gatherer:
    return Gatherer(host())


def scrape(names: Sequence[str] = (), times: int = 1) -> str:
    """Scrape so many times and return the last page; `names` are collectors, all if none."""
    text = b""
    for _ in range(times):
        chosen = [c for name, c in collectors.load().items() if not names or name in names]
        text, _ = Exposition().render(page_families(_gatherer().gather(chosen)), accept="")
    return text.decode()


@functools.cache
def _namespace_sampler() -> NamespaceSampler:
    return make_sampler(System())


def other_namespaces() -> Sample:
    """Look at the namespaces that have a process, other than this process's, once."""
    _namespace_sampler().look()
    return _namespace_sampler().current()


class Checked(NamedTuple):
    """What `check` found, and the page of the same scrape."""

    code: int
    verdict: str
    found: tuple[tuple[str, str, str], ...]  #: short name, severity and summary of each finding
    remedies: tuple[str, ...]
    page: str


@contextlib.contextmanager
def _checked(system: System, configuration: str) -> Iterator[tuple[Run, Report]]:
    """Collect once from a host that nothing is remembered of, and report on that."""
    gatherer = Gatherer(Host(system, config.parse(configuration, "check.yml")))
    with contextlib.closing(gatherer):
        run = gatherer.gather(collectors.load().values())
        with contextlib.closing(run):
            yield run, evaluate(Context(run))


def check(configuration: str) -> Checked:
    """Check the host as this process sees it, with the text of a configuration file."""
    with _checked(System(), configuration) as (run, report):
        text, _ = Exposition().render(page_families(run), accept="")
    found = ((f.alert[len("Netfilter") :], f.severity.value, f.summary) for f in report.broken)
    remedies = tuple(line for finding in report.broken for line in finding.remedy)
    return Checked(report.exit_code, report.verdict, tuple(found), remedies, text.decode())


def ruleset(source: str) -> RulesetFacts:
    """Return what the exporter reads now: of nftables, legacy_ipv4 or legacy_ipv6."""
    snapshot = host().snapshot(timeout=60.0)
    with contextlib.closing(snapshot):
        if source == "nftables":
            found = nftables(snapshot).facts
        else:
            found = {"legacy_ipv4": legacy_ipv4, "legacy_ipv6": legacy_ipv6}[source](snapshot)
        return dataclasses.replace(found, passage=Passage())  # whole tables cannot be pickled


def findings(configuration: str = "", rootfs: str = "/") -> list[dict[str, Any]]:
    """Return what `check` finds now under the text of a configuration, as its JSON has it."""
    with _checked(System(Paths(rootfs=rootfs)), configuration) as (_, made):
        found: list[dict[str, Any]] = document(made)["findings"]
    return [one for one in found if one["severity"] != "unknown"]


_checkers: list[Checker] = []


def begin_check(configuration: str) -> None:
    """Take the first samples of a `check` that measures an interval."""
    checker = Checker(System(), config.parse(configuration, "check.yml"))
    checker.prepare()
    _checkers.append(checker)


def end_check() -> tuple[int, str, dict[str, str]]:
    """End that interval; return exit code, verdict, and what was found above info, by name."""
    with contextlib.closing(_checkers.pop()) as checker:
        made = checker.report(require_proof=True)
    found = {f.alert[len("Netfilter") :]: f.severity.value for f in made.broken}
    found = {name: severity for name, severity in found.items() if severity != "info"}
    return made.exit_code, made.verdict, found


def probe(times: int) -> list[bool]:
    """Send so many probes of IPv4 and return what each proved."""
    snapshot = host().snapshot(timeout=60.0)
    connection = netfilter(snapshot, "nf_conntrack_netlink")
    proofs = []
    for _ in range(times):
        pair = host().system.loopback(Family.IPV4)
        with contextlib.closing(pair):
            proofs.append(tracks(connection, pair, Family.IPV4, blind=False))
    snapshot.close()
    return proofs


def generation() -> int:
    """Return the generation of the nftables ruleset."""
    snapshot = host().snapshot(timeout=60.0)
    with contextlib.closing(snapshot):
        return nftables(snapshot).generation


def interfaces() -> dict[bytes, int]:
    """Return the index of each interface."""
    return {os.fsencode(name): index for index, name in socket.if_nameindex()}


def rename_interface(old: bytes, new: bytes) -> None:
    """Give an interface that is down another name."""
    subprocess.run(["ip", "link", "set", "dev", old, "name", new], check=True)


def forwarding() -> dict[bytes, int]:
    """Return net.ipv4.conf.NAME.forwarding of each name."""
    folder = b"/proc/sys/net/ipv4/conf"
    return {
        name: int(Path(os.fsdecode(os.path.join(folder, name, b"forwarding"))).read_text())
        for name in os.listdir(folder)
    }


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))


def drop_privileges(capabilities: Sequence[int], groups: Sequence[int]) -> None:
    """Become nobody, with these capabilities and supplementary groups, and no other.

    It holds for this thread, and for those that it starts.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    scrape()  # whatever is imported late is out of reach later
    host.cache_clear()
    _gatherer.cache_clear()
    kept_files._kept.clear()
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups(groups)
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    mask = sum(1 << capability for capability in capabilities)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


#: Seconds for which `heard` and `answer` wait.
_HEARS = 1.0


def listen(address: str, port: int) -> None:
    """Bind the socket of `heard`, and drop what came too late for an earlier one."""
    opened = _listener(address, port)
    opened.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while opened.recvfrom(64):
            pass
    opened.settimeout(_HEARS)


@functools.cache
def _listener(address: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind((address, port))
    return opened


def heard(address: str, port: int) -> str | None:
    """Return the address that the next datagram came from, None where none comes."""
    try:
        _, sender = _listener(address, port).recvfrom(64)
    except socket.timeout:
        return None
    return str(sender[0])


def answer(address: str, port: int) -> None:
    """Send the next datagram back to whom it came from; nothing where none comes."""
    opened = _listener(address, port)
    with contextlib.suppress(socket.timeout):
        content, sender = opened.recvfrom(64)
        opened.sendto(content, sender)


_asking: dict[int, socket.socket] = {}


def ask(address: str, port: int, number: int) -> None:
    """Send a datagram from a new socket, which `answered` closes."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = _asking[number] = socket.socket(kind, socket.SOCK_DGRAM)
    opened.settimeout(0.5)
    opened.connect((address, port))
    opened.send(b"x")


def answered(number: int) -> bool:
    """Return whether the datagram of `ask` was answered."""
    with _asking.pop(number) as opened:
        try:
            return opened.recv(64) == b"x"
        except (socket.timeout, ConnectionError):
            return False


def send(address: str, port: int, times: int = 1) -> None:
    """Send datagrams from one socket."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(kind, socket.SOCK_DGRAM) as opened:
        for _ in range(times):
            opened.sendto(b"x", (address, port))


def connect(source: str, address: str, port: int) -> None:
    """Send the first packet of a TCP connection, and wait for nothing."""
    with socket.socket() as opened:
        opened.bind((source, 0))
        opened.setblocking(False)
        opened.connect_ex((address, port))


def flood(seconds: float) -> None:
    """Open a new flow on loopback every 5 ms, whatever the kernel answers."""
    end = time.monotonic() + seconds
    ports = itertools.cycle(range(20000, 60000))
    while time.monotonic() < end:
        with contextlib.suppress(PermissionError):  # the answer of a full table
            send("127.0.0.1", next(ports))
        time.sleep(0.005)


def main() -> int:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            function, arguments = pickle.load(requests)
        except EOFError:
            return 0
        try:
            answer = True, function(*arguments)
        except BaseException:
            answer = False, traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    sys.exit(main())
