"""The helper for network namespaces: what it hands over, to whom, and what it keeps alive."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from netfilter_exporter import netns_helper
from netfilter_exporter.facts.namespaces import make_sampler
from netfilter_exporter.kernel.errors import Denied, NoData, ReadError, TimedOut
from netfilter_exporter.kernel.netns import helper as helper_client
from netfilter_exporter.kernel.netns import wire
from netfilter_exporter.kernel.netns.helper import Helper
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.selection import Selection
from netfilter_exporter.rules.families import Family
from support.namespace import run, wait_until_freed
from support.netns_helper import EXPORTER, UID, running_helper, unprivileged
from support.page import Page
from support.process import COMMAND, get, running

#: What a router of OpenStack has: the network behind one address, and a floating address.
ROUTER = """
sysctl -qw net.ipv4.ip_forward=1
{command} -w -t nat -N neutron-l3-agent-snat
{command} -w -t nat -N neutron-l3-agent-PREROUTING
{command} -w -t nat -A POSTROUTING -j neutron-l3-agent-snat
{command} -w -t nat -A PREROUTING -j neutron-l3-agent-PREROUTING
{command} -w -t nat -A neutron-l3-agent-PREROUTING -d 203.0.113.10/32 -j DNAT --to 10.0.0.5
{command} -w -t nat -A neutron-l3-agent-snat -s 10.0.0.5/32 -j SNAT --to-source 203.0.113.10
{command} -w -t nat -A neutron-l3-agent-snat -o qg-1 -j SNAT --to-source 203.0.113.2
conntrack -I -t 300 -s 10.0.0.5 -d 198.51.100.2 -p udp --sport 1006 --dport 53
"""
CAP_NET_ADMIN = 1 << 12


@pytest.fixture(scope="module")
def helper():
    """A helper with its capabilities."""
    with running_helper() as found:
        yield found


@pytest.fixture
def router():
    """The name of a namespace that no process is in."""
    name = f"qrouter-{uuid.uuid4()}"
    run("ip", "netns", "add", name)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def sh(name, script):
    """Run a script in a namespace; no process of it stays."""
    return run("nsenter", f"--net=/run/netns/{name}", "sh", "-euc", script)


def sampler_of(name, client):
    """Return what looks at one namespace through a helper."""
    made = make_sampler(System())
    made.select(Selection(re.compile(re.escape(name))), client)
    return made


def looked(sampler):
    """Look, and return the one namespace."""
    sampler.look()
    sample = sampler.current()
    assert sample.helper_error is None
    (found,) = sample.namespaces
    return found


@pytest.mark.parametrize("command", ["iptables-nft", "iptables-legacy"])
def test_a_router_without_a_process(helper, router, command):
    """Its rules, entries, tracking and forwarding, as its namespace has them; and no rule after."""
    sh(router, ROUTER.format(command=command))
    sampler = sampler_of(router, helper.client)
    found = looked(sampler)
    assert found.name == router
    assert found.entries == 1
    assert found.totals.keys() == {"drop", "insert_failed", "early_drop"}
    assert found.inside.errors == ()
    assert found.inside.nat_rules == {Family.IPV4: 3, Family.IPV6: 0}
    assert found.inside.tracking[Family.IPV4] is True
    assert found.inside.forwarding[Family.IPV4] is False, "no interface but lo"
    sh(
        router,
        f"ip link add v0 type veth peer name v1; {command} -w -t nat -F neutron-l3-agent-snat",
    )
    found = looked(sampler)
    assert found.inside.nat_rules[Family.IPV4] == 1
    assert found.inside.forwarding[Family.IPV4] is True
    sh(router, f"{command} -w -t nat -F")
    assert looked(sampler).inside.nat_rules == {Family.IPV4: 0, Family.IPV6: 0}


def test_only_a_changed_ruleset_is_read_again(helper, router, monkeypatch):
    """A look at one that is the same asks for its generation only."""
    read = []
    whole = nftables.read_tables
    monkeypatch.setattr(nftables, "read_tables", lambda *a: (read.append(1), whole(*a))[1])
    sh(router, ROUTER.format(command="iptables-nft"))
    sampler = sampler_of(router, helper.client)
    for _ in range(3):
        assert looked(sampler).inside.nat_rules[Family.IPV4] == 3
    assert len(read) == 1
    sh(router, "iptables-nft -w -t nat -F neutron-l3-agent-snat")
    assert looked(sampler).inside.nat_rules[Family.IPV4] == 1
    assert len(read) == 2


def test_another_namespace_of_the_name_is_read_anew(helper, router):
    """Although its ruleset has the same generation, and its inode number may be the same."""
    sampler = sampler_of(router, helper.client)
    table = "nft 'table ip t {{ chain c {{ type nat hook {}; }}; }}'"
    sh(router, table.format("postrouting priority 100; masquerade; masquerade"))
    assert looked(sampler).inside.nat_rules[Family.IPV4] == 2
    run("ip", "netns", "del", router)
    run("ip", "netns", "add", router)
    sh(router, table.format("postrouting priority 100; masquerade; accept"))
    assert looked(sampler).inside.nat_rules[Family.IPV4] == 1


def test_looking_keeps_nothing_alive(helper, namespaces, router):
    """A deleted namespace takes its interfaces along within a second, under permanent looks."""
    host = namespaces()
    host.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "qg-1", "netns", router)
    sh(router, ROUTER.format(command="iptables-nft"))
    sampler = sampler_of(router, helper.client)
    stop = threading.Event()
    looks = []

    def look():
        while not stop.is_set():
            sampler.look()
            looks.append(len(sampler.current().namespaces))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        end = time.monotonic() + 20
        while sum(looks) < 5:
            assert time.monotonic() < end
            time.sleep(0.01)
        run("ip", "netns", "del", router)
        wait_until_freed(host, "v0", seconds=1)
    finally:
        stop.set()
        looking.join()
    sampler.look()
    assert sampler.current().namespaces == ()


def test_a_process_is_known_by_the_name(helper, namespaces):
    """Without a number too: nothing connects it with the namespace of the exporter."""
    other = namespaces()
    other.call(os.getpid)
    found = looked(sampler_of(other.name, helper.client))
    assert found.name == other.name
    assert found.inside.nat_rules == {Family.IPV4: 0, Family.IPV6: 0}


def test_a_namespace_that_a_user_namespace_owns(helper):
    """As of a rootless container: its table and its rules, although its root is not the host's."""
    name = f"rootless-{uuid.uuid4()}"
    script = ROUTER.format(command="iptables-nft") + "echo; exec sleep 300"
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-euc", script]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        contextlib.ExitStack() as undo,
    ):
        undo.callback(process.kill)
        assert process.stdout.readline(), "the rules are loaded"
        run("ip", "netns", "attach", name, str(process.pid))
        undo.callback(run, "ip", "netns", "del", name)
        assert os.readlink(f"/proc/{process.pid}/ns/user") != os.readlink("/proc/self/ns/user")
        found = looked(sampler_of(name, helper.client))
    assert (found.name, found.entries, found.inside.errors) == (name, 1, ())
    assert found.inside.nat_rules == {Family.IPV4: 3, Family.IPV6: 0}
    assert found.inside.tracking[Family.IPV4] is True


def test_a_namespace_that_is_excluded_is_not_reported_by_its_inode(helper, namespaces):
    """Its name is known all the same, and nothing but that is asked of it."""
    other = namespaces()
    other.call(os.getpid)
    inode = run("nsenter", f"--net=/run/netns/{other.name}", "stat", "-Lc%i", "/proc/self/net/stat")
    sampler = make_sampler(System())
    sampler.select(
        Selection(re.compile(rf"\d+|{other.name}"), re.compile(other.name)), helper.client
    )
    sampler.look()
    assert inode.strip() not in {each.name for each in sampler.current().namespaces}


@pytest.mark.parametrize(
    "request_",
    [
        *(
            b"open s " + name
            for name in (b"", b".", b"..", b"../ipc", b"a/b", b"/proc", b"x" * 256)
        ),
        *(b"open %s NAME" % kinds for kinds in (b"x", b"S", b"\xff", b"s s")),
        *(b"", b"close", b"open", b"open s", b"exec sh", b"\0" * 500),
    ],
)
def test_whatever_else_is_asked_is_refused(helper, router, request_):
    """No request but for a name and kinds opens anything, and the next one is answered."""
    with contextlib.closing(helper.client.connect()) as connection:
        if request_:  # an empty datagram is the end
            with pytest.raises(ReadError):
                connection._ask(request_.replace(b"NAME", router.encode()), wire.OPENED)
        assert router.encode() in set(connection.names())
        with contextlib.closing(connection.open(router.encode(), "s")) as opened:
            assert opened.inode() != os.stat("/proc/self/net/stat").st_ino


def test_what_is_no_namespace_is_passed_over(helper, router):
    """A file that `ip netns add` left behind, a link, another kind of namespace, a pipe."""
    strays = [Path(f"/run/netns/{router}{suffix}") for suffix in (".file", ".link", ".fifo")]
    strays[0].touch()
    strays[1].symlink_to("/proc/self/ns/net")
    os.mkfifo(strays[2])
    try:
        with contextlib.closing(helper.client.connect()) as connection:
            for stray in strays:
                with pytest.raises(NoData):
                    connection.open(stray.name.encode(), "s")
        assert looked(sampler_of(router, helper.client)).name == router
    finally:
        for stray in strays:
            stray.unlink()


_CONNECT = """
import contextlib, sys
from netfilter_exporter.kernel.netns.helper import Helper
with contextlib.closing(Helper(sys.argv[1], int(sys.argv[2])).connect()) as connection:
    next(connection.names())
"""


@pytest.mark.parametrize(("uid", "ends"), [(EXPORTER, ""), (65531, "Denied: "), (UID, "Denied: ")])
@pytest.mark.usefixtures("router")
def test_peers_are_root_and_the_exporter(helper, uid, ends):
    """Any other user is refused before it can ask, the helper's own too."""
    done = subprocess.run(
        [*unprivileged(uid), sys.executable, "-c", _CONNECT, helper.path, str(UID)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    assert bool(done.returncode) == bool(ends)
    assert ends in done.stderr
    assert (f"not uid {uid}" in done.stderr) == bool(ends)


def test_an_impostor_is_not_asked(helper):
    """Who listens must be root, or the user that the exporter was told."""
    with pytest.raises(ReadError, match=f"run by uid {UID}; expected uid 0"):
        Helper(helper.path).connect()


def test_an_absent_helper_is_an_error(tmp_path):
    """Whether its socket is not there, or nobody listens: the user has asked for it."""
    with pytest.raises(ReadError, match="not running: No such file") as absent:
        Helper(str(tmp_path / "socket")).connect()
    assert type(absent.value) is ReadError
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(tmp_path / "socket"))
        with pytest.raises(ReadError, match="not running: Connection refused"):
            Helper(str(tmp_path / "socket")).connect()


def test_a_slow_helper_times_out(tmp_path, monkeypatch):
    """No look waits for one that hangs."""
    monkeypatch.setattr(helper_client, "_PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as slow:
        slow.bind(str(tmp_path / "socket"))
        slow.listen()
        with pytest.raises(TimedOut, match=r"no answer within 0\.1 s"):
            Helper(str(tmp_path / "socket")).connect()


def test_tier_a_is_served_without_the_helper(namespaces, tmp_path):
    """What has a process is known all the same."""
    other = namespaces()
    pid = other.call(os.getpid)
    inode = run("stat", "-Lc%i", f"/proc/{pid}/net/stat").strip()
    sampler = make_sampler(System())
    sampler.select(Selection(), Helper(str(tmp_path / "socket")))
    sampler.look()
    sample = sampler.current()
    assert "not running" in str(sample.helper_error)
    assert {inode, other.name} & {each.name for each in sample.namespaces}


def test_without_its_capability_it_is_denied(router):
    """A helper that may not enter says so."""
    with contextlib.ExitStack() as stack:
        weak = stack.enter_context(running_helper(["net_admin"]))
        connection = stack.enter_context(contextlib.closing(weak.client.connect()))
        stack.enter_context(pytest.raises(Denied))
        connection.open(router.encode(), "s")


def test_rules_require_a_helper_that_may_read_them(router):
    """nfnetlink demands CAP_NET_ADMIN of whoever opened the socket: the rest is served."""
    sh(router, ROUTER.format(command="iptables-nft"))
    with running_helper(["sys_admin"]) as weak:
        found = looked(sampler_of(router, weak.client))
    assert found.entries == 1
    assert found.inside.nat_rules == {}
    assert [type(error.status) and error.status.value for error in found.inside.errors] == [
        "denied"
    ]


def test_it_stays_small_and_keeps_nothing(helper, router):
    """Less than 1 MB besides an interpreter that does nothing: below 10 MB with Debian's.

    Pages of files are left out: processes share them, and how many are mapped varies.
    """
    with contextlib.closing(helper.client.connect()) as connection:
        before = len(os.listdir(f"/proc/{helper.process.pid}/fd"))
        for _ in range(300):
            connection.open(router.encode(), "scrn46tu").close()
            list(connection.names())
        after = len(os.listdir(f"/proc/{helper.process.pid}/fd"))
    assert before == after
    bare = run(sys.executable, "-c", "print(open('/proc/self/status').read())")
    status = Path(f"/proc/{helper.process.pid}/status").read_text()
    assert private(status) - private(bare) < 1024


def private(status):
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])


def test_a_peer_that_says_nothing_makes_nobody_wait(helper, router):
    """Nor do more than there may be: each is served, or sent away."""
    with contextlib.ExitStack() as silent:
        for _ in range(2 * netns_helper._MOST_PEERS):
            opened = silent.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            opened.connect(helper.path)
            assert opened.recv(64) == wire.READY
        silent.pop_all().close()
    assert looked(sampler_of(router, helper.client)).name == router


def test_check_takes_a_namespace_without_a_process(helper, router, tmp_path):
    """Through the helper; without it, nothing is known of the namespace."""
    sh(router, ROUTER.format(command="iptables-nft"))
    flags = ("--json", "--interval=0", "--no-color", f"--netns={router}")
    asked = (f"--netns.helper-socket={helper.path}", f"--netns.helper-user={UID}")
    assert unknown_of(*flags, *asked) == []
    assert unknown_of(*flags) == ["Unknown: no other network namespace of this name has a process"]
    (said,) = unknown_of(*flags, f"--netns.helper-socket={tmp_path}/none")
    assert "not running" in said


def unknown_of(*flags):
    """Return what `check` does not know of other namespaces."""
    done = subprocess.run([*COMMAND, "check", *flags], capture_output=True, check=False)
    findings = json.loads(done.stdout)["findings"]
    found = [each for each in findings if each["alert"] == "NetfilterNetnsTableFilling"]
    assert {each["severity"] for each in found} <= {"unknown"}
    return [each["summary"] for each in found]


_SOCKETS = """
import socket
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.sandbox.confine import confine
confine(Paths(), [], connects=True)
socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    try:
        socket.socket(socket.AF_UNIX, kind)
    except PermissionError:
        print("refused")
"""


def test_the_sandbox_leaves_one_type_of_unix_socket():
    """That of the helper's; docker.sock and its like are of others."""
    assert run(sys.executable, "-c", _SOCKETS).split() == ["refused", "refused"]


def test_the_exporter_asks_with_one_capability(helper, router, tmp_path):
    """It serves rules of a namespace without a process, confined, and never with CAP_SYS_ADMIN."""
    sh(router, ROUTER.format(command="iptables-nft"))
    flags = (
        *("--collector.disable-defaults", "--collector.namespaces"),
        *(f"--netns.include={router}", f"--netns.helper-socket={helper.path}"),
        f"--netns.helper-user={UID}",
    )
    prefix = unprivileged(EXPORTER, "net_admin")
    with running(tmp_path / "log", *flags, prefix=prefix) as exporter:
        end = time.monotonic() + 30
        while not (page := Page(get(exporter.ports[0])[1])).samples("netns_nat_rules"):
            assert time.monotonic() < end, page
            time.sleep(0.1)
        status = Path(f"/proc/{exporter.process.pid}/status").read_text()
    assert page.total("netns_nat_rules", netns=router, family="ipv4") == 3
    assert page.total("netns_conntrack_entries", netns=router) == 1
    assert page.total("source_status", source="netns_helper", status="ok") == 1
    assert page.total("exporter_sandbox", part="seccomp") == 1
    for which in "CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb":
        assert int(re.search(rf"{which}:\s+(\w+)", status)[1], 16) in {0, CAP_NET_ADMIN}
