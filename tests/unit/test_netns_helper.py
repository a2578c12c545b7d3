"""kernel/netns/helper.py and what the collector makes of it: what the helper may answer."""

import array
import contextlib
import os
import re
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter import netns_helper
from netfilter_exporter.collection import collect
from netfilter_exporter.collectors.namespaces import COLLECTOR
from netfilter_exporter.facts.namespaces import make_sampler, namespace_sampler
from netfilter_exporter.facts.namespaces import netns_helper as source
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.errors import Denied, Malformed, ReadError, Status, TimedOut
from netfilter_exporter.kernel.netns import wire
from netfilter_exporter.kernel.netns.cgroup import Owner
from netfilter_exporter.kernel.netns.helper import HelperConnection
from netfilter_exporter.kernel.netns.processes import Conntrack, Inhabited
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.entered import Entered, Inside
from netfilter_exporter.netns.sampler import (
    CPU_SHARE,
    INTERVAL,
    Namespace,
    Sample,
    _Found,
    _merged,
    _named,
)
from netfilter_exporter.rules.families import Family
from support.netns_helper import SCRIPT
from support.page import collected


@contextlib.contextmanager
def answering(*answers, descriptors=()):
    """Yield a connection that gets these answers, each with these descriptors."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection = HelperConnection("helper")
    connection._socket.close()
    connection._socket = ours
    ours.settimeout(2)
    rights = array.array("i", descriptors).tobytes()
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
    with theirs, contextlib.closing(connection):
        for answer in answers:
            theirs.sendmsg([answer], ancillary)
        yield connection


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@given(st.binary(max_size=100), st.integers(0, 3))
def test_any_answer_is_descriptors_or_an_error(answer, count):
    """And none is left open that was handed over."""
    before = descriptors()
    with contextlib.suppress(ReadError), answering(answer, descriptors=[0] * count) as connection:
        connection.open(b"x", "sn").close()
    assert descriptors() == before


@pytest.mark.parametrize(
    "answer",
    [
        *(b"opened 9 s0", b"opened 9 s0 n0 r0", b"opened 9 s x", b"opened 9 s0 s0 s0"),
        *(b"opened 9 \xff0 n0", b"names", b"error x", b"opened"),
    ],
)
def test_descriptors_without_a_kind_are_refused(answer):
    """Two descriptors came along, and the answer says something else."""
    before = descriptors()
    with answering(answer, descriptors=[0, 0]) as connection, pytest.raises(Malformed):
        connection.open(b"x", "sn")
    assert descriptors() == before


def test_what_could_not_be_opened_says_why():
    """The other kinds are there."""
    with answering(b"opened 9 s0 n1 t2", descriptors=[0]) as connection:
        opened = connection.open(b"x", "snt")
        assert opened.inode() == os.fstat(0).st_ino
        with pytest.raises(Denied):
            opened.take(wire.NETFILTER)
        opened.close()


def test_names_come_in_pages():
    """Until there is none left; an answer that goes back would never end."""
    with answering(b"names/a/b", b"names/c", b"names") as connection:
        assert list(connection.names()) == [b"a", b"b", b"c"]
    with answering(b"names/b", b"names/a") as connection, pytest.raises(Malformed):
        list(connection.names())


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *((b"qrouter-1", True), (b"a.b", True), (b"x" * 255, True), (b"\xff", True)),
        *((b"", False), (b".", False), (b"..", False), (b".x", False), (b"a/b", False)),
        *((b"/", False), (b"a\0b", False), (b"x" * 256, False)),
    ],
)
def test_a_name_is_that_of_an_entry(name, is_one):
    """What leads elsewhere is none."""
    assert netns_helper._is_name(name) is is_one


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (["nobody"], (None, "nobody")),
        (["--socket", "/x", "7"], ("/x", "7")),
        ([], (None, None)),
        (["--help"], (None, None)),
        (["--socket", "/x"], (None, None)),
        (["a", "b", "c", "d"], (None, None)),
    ],
)
def test_the_command_line_is_a_socket_and_a_user(arguments, read):
    """Nothing else is taken."""
    assert netns_helper._arguments(arguments) == read


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "usage"), (["7"], "systemd passed no socket"), (["nobody-of-that-name"], "not found")],
)
def test_wrong_usage_ends_it(arguments, said, monkeypatch, capsys):
    """With a line that says why."""
    monkeypatch.setattr("sys.argv", ["helper", *arguments])
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert netns_helper.main() in {1, 2}
    assert said in capsys.readouterr().err


def test_it_imports_little():
    """An interpreter takes most of what the helper may take; the script is wrong usage here."""
    found = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", SCRIPT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    imported = set(re.findall(r"\| +([\w.]+)$", found.stderr, re.MULTILINE))
    assert "netfilter_exporter.netns_helper" in imported
    assert not imported & {"argparse", "collections", "ctypes", "enum", "re", "socket", "typing"}


def test_a_user_that_is_none_ends_the_helper_in_a_line():
    """As the flag of the exporter takes users: by name, or by number."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    found = subprocess.run(
        [sys.executable, SCRIPT, "--socket", "/nowhere/socket", "²"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1


def test_a_namespace_that_both_ways_find_is_one():
    """It has the name and the rules of one, and the owner of the other."""
    conntrack, inside = Conntrack(1, ()), Inside({Family.IPV4: 1})
    inhabited = [
        Inhabited(7, 70, Owner("c"), conntrack, None),
        Inhabited(8, 80, Owner(), None, "x"),
    ]
    entered = {7: Entered(7, "a", conntrack, inside), 9: Entered(9, "b", None, inside)}
    found = {each.inode: each for each in _merged(inhabited, entered)}
    assert found[7][1:] == ("a", Owner("c"), conntrack, inside)
    assert found[8][1:] == ("x", Owner(), None, Inside())
    assert found[9][1:] == ("b", Owner(), None, inside)


def test_a_name_in_run_netns_goes_before_that_of_a_container():
    """And no two namespaces have one name."""
    found = [
        _Found(1, None, Owner("web"), None, Inside()),
        _Found(2, "web", Owner(), None, Inside()),
        _Found(3, "router", Owner("lxc"), None, Inside()),
        _Found(4, None, Owner("lxc"), None, Inside()),
    ]
    assert [name for _, name in _named(found)] == ["1", "web", "router", "lxc"]


def rows_of(fake_host, sample):
    """Return the samples of the collector, its status, and that of the helper."""
    host = Host(System(paths=fake_host("6.18/nat-nft").system.paths))
    sampler = namespace_sampler(host)
    sampler.take = lambda: sample
    sampler.look()
    rows, status = collected(COLLECTOR, host)
    with contextlib.closing(host.snapshot(5)) as snapshot, contextlib.suppress(ReadError):
        source(snapshot)
    return rows, status, snapshot.source_status()["netns_helper"]


def test_the_status_of_the_helper_is_on_each_page(fake_host):
    """Also where nothing has changed, and samples are those of the scrape before."""
    host = Host(System(paths=fake_host("6.18/nat-nft").system.paths))
    sampler = namespace_sampler(host)
    sampler.take = lambda: Sample((), has_helper=True)
    sampler.look()
    for _ in range(2):
        with contextlib.closing(host.snapshot(5)) as snapshot:
            collect(COLLECTOR, snapshot)
            assert snapshot.source_status()["netns_helper"] is Status.OK


def test_what_is_known_inside_is_served(fake_host):
    """A family of which something is unknown is absent."""
    inside = Inside({Family.IPV4: 3, Family.IPV6: 0}, {Family.IPV4: True}, {Family.IPV4: False})
    sample = Sample((Namespace("q", Owner(), None, {}, inside),), has_helper=True)
    rows, status, helper = rows_of(fake_host, sample)
    assert rows["netns_nat_rules"] == {("q", "ipv4"): 3, ("q", "ipv6"): 0}
    assert rows["netns_conntrack_tracking"] == {("q", "ipv4"): 1}
    assert rows["netns_forwarding_enabled"] == {("q", "ipv4"): 0}
    assert status is helper is Status.OK


@pytest.mark.parametrize(
    ("error", "is_told"),
    [(ReadError("x"), "error"), (Denied("x"), "denied"), (TimedOut("x"), "timeout")],
)
def test_a_helper_that_does_not_help_is_told(fake_host, error, is_told):
    """What was found all the same is served."""
    found = (Namespace("q", Owner(), 1, {}),)
    rows, status, helper = rows_of(fake_host, Sample(found, None, True, error))
    assert rows["netns_conntrack_entries"] == {("q",): 1}
    assert rows["netns_nat_rules"] == {}
    assert status.value == helper.value == is_told


def test_rules_that_cannot_be_read_are_told(fake_host):
    """The worst of the reasons is the collector's; the helper did its part."""
    inside = Inside(errors=(TimedOut("x"), Denied("y")))
    sample = Sample((Namespace("q", Owner(), 1, {}, inside),), has_helper=True)
    _, status, helper = rows_of(fake_host, sample)
    assert (status, helper) == (Status.TIMEOUT, Status.OK)


def test_without_the_flag_no_helper_is_missed(fake_host):
    """The collector is what it was."""
    rows, status, helper = rows_of(fake_host, Sample((Namespace("q", Owner(), 1, {}),)))
    assert rows["netns_nat_rules"] == {}
    assert (status, helper) == (Status.OK, Status.NO_DATA)


def test_the_first_look_sets_no_pace(fake_host, monkeypatch):
    """It reads what later ones compare: 500 rulesets must not delay the next look by minutes."""
    sampler = make_sampler(fake_host("6.18/nat-nft").system)
    times = iter([0.0, 0.3, 1.0, 1.3])
    monkeypatch.setattr(time, "thread_time", lambda: next(times))
    sampler.look()
    assert sampler._interval == INTERVAL
    sampler.look()
    assert sampler._interval == pytest.approx(0.3 / CPU_SHARE)
