"""What the process gives up by itself: it reads all the same, and whoever owns it gains little."""

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

import pytest

from lab.attempts import handle_of
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.sandbox import landlock, syscalls
from netfilter_exporter.sandbox.confine import PARTS, confine
from netfilter_exporter.sandbox.syscalls import architecture, numbers
from support.attacks import claims, seen
from support.page import Page
from support.process import get, running

VOLATILE = (
    *("duration", "timestamp", "process_", "ip_out", "ip_in", "references", "sandbox", "flow"),
    *("conntrack_entries ", "conntrack_count"),
)
CAP_NET_ADMIN = 1 << 12


def lacking():
    """Return the parts that this kernel does not have."""
    try:
        landlock.version()
    except OSError:
        return {"landlock"}
    return set()


HELD = {part: int(part not in lacking()) for part in PARTS}


@pytest.fixture
def serving(gateway, tmp_path):
    """Return a function that runs the exporter in the namespace, as root."""

    def serve(*flags, **options):
        enter = ("nsenter", f"--net=/run/netns/{gateway.name}")
        return running(tmp_path / "log", *flags, prefix=enter, **options)

    return serve


def page(gateway, exporter):
    return Page(gateway.call(get, exporter.ports[0])[1])


def held(page):
    return {sample.labels["part"]: sample.value for sample in page.samples("exporter_sandbox")}


def told(page):
    return {line for line in page.lines() if not any(part in line for part in VOLATILE)}


def test_it_reads_all_the_same(gateway, serving):
    """Files of /proc/net, nfnetlink, routes, legacy tables, the probe: none of it is lost."""
    pages = []
    for flags in ((), ("--sandbox.disable",)):
        with serving(*flags) as exporter:
            page(gateway, exporter)
            pages.append(page(gateway, exporter))
    confined, free = pages
    assert told(confined) == told(free)
    assert confined.samples("source_status", status="denied") == []
    assert confined.total("nat_rules", action="masquerade") == 3
    assert held(confined) == HELD
    assert held(free) == dict.fromkeys(PARTS, 0)


def test_every_thread_is_confined(gateway, serving):
    """The collecting one and that of the sample too; root keeps one capability."""
    with serving() as exporter:
        page(gateway, exporter)
        threads = list(Path(f"/proc/{exporter.process.pid}/task").iterdir())
        assert len(threads) >= 3
        for thread in threads:
            lines = (thread / "status").read_text().splitlines()
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == CAP_NET_ADMIN
            for which in "CapInh", "CapBnd", "CapAmb":
                assert int(status[which], 16) == 0


@pytest.mark.parametrize("swap", ["renamed", "config map"])
def test_a_configuration_that_is_replaced_is_read(gateway, serving, tmp_path, swap):
    """By another file of the name, as editors do it, or by another folder, as Kubernetes does."""
    config = tmp_path / "config/config.yml"
    (tmp_path / "config/..1").mkdir(parents=True)
    (tmp_path / "config/..1/config.yml").write_text("nat: none\n")
    (tmp_path / "config/..data").symlink_to("..1")
    config.symlink_to("..data/config.yml")
    with serving(f"--config.file={config}") as exporter:
        assert page(gateway, exporter).total("nat_expected", family="ipv4") == 0
        new = tmp_path / "config/..2"
        new.mkdir()
        (new / "config.yml").write_text("nat: required\n")
        if swap == "renamed":
            (new / "config.yml").rename(config)
        else:
            (tmp_path / "config/..new").symlink_to("..2")
            (tmp_path / "config/..new").rename(tmp_path / "config/..data")
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_for_log("reloaded configuration")
        assert page(gateway, exporter).total("nat_expected", family="ipv4") == 1


def test_a_host_that_changes_is_read(gateway, serving, tmp_path):
    """Directories that come, files that are replaced, modules of another kernel."""
    release = os.uname().release
    root = tmp_path / "host"
    for name in ("etc/sysctl.d", "run", f"usr/lib/modules/{release}"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    (root / "etc/sysctl.conf").write_text("net.ipv4.ip_forward = 1\n")

    def wanted(exporter):
        samples = page(gateway, exporter).samples("sysctl_wanted")
        return {s.labels["name"].rpartition(".")[2]: s.value for s in samples}

    with serving(f"--path.rootfs={root}") as exporter:
        assert wanted(exporter) == {"ip_forward": 1}
        (root / "etc/new").write_text("net.ipv4.ip_forward = 0\n")
        (root / "etc/new").rename(root / "etc/sysctl.conf")
        for name in ("run/sysctl.d", "usr/local/lib/sysctl.d"):
            (root / name).mkdir(parents=True)
        forwarding = "net.ipv6.conf.all.forwarding = 1\n"
        (root / "run/sysctl.d/10-here.conf").write_text(forwarding)
        acct = "net.netfilter.nf_conntrack_acct = 1\n"
        (root / "usr/local/lib/sysctl.d/20-here.conf").write_text(acct)
        assert wanted(exporter) == {"ip_forward": 0, "forwarding": 1, "nf_conntrack_acct": 1}
        statuses = page(gateway, exporter).samples("scrape_collector_status")
        assert {s.labels["status"] for s in statuses} <= {"ok", "no_data", "unsupported"}


def test_a_key_of_another_user_is_read(tmp_path):
    """Root reads it by a capability, which is kept where one of the files needs it."""
    (tmp_path / "config.yml").write_text("")
    (tmp_path / "config.yml").chmod(0o600)
    os.chown(tmp_path / "config.yml", 65534, 65534)
    with running(tmp_path / "log", f"--config.file={tmp_path}/config.yml") as exporter:
        status = Path(f"/proc/{exporter.process.pid}/status").read_text()
        assert f"\nCapEff:\t{CAP_NET_ADMIN | 1 << 2:016x}\n" in status
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_for_log("reloaded configuration")


# -- what fails --------------------------------------------------------------------------------

#: Runs a command where options of prctl and system calls are refused, as container runtimes and
#: older kernels do: the errno, those options, those calls, then the command.
REFUSING = """
import ctypes, json, os, struct, sys
from netfilter_exporter.sandbox import bpf, libc
error, options, calls = json.loads(sys.argv[1])
prctl = {"x86_64": 157, "aarch64": 167}[os.uname().machine]
judged = [*bpf.argument(0), *bpf.if_in(options, bpf.fail(error)), *bpf.ALLOW]
program = [*bpf.NUMBER, *bpf.if_equal(prctl, judged)]
program += [*bpf.if_in(calls, bpf.fail(error)), *bpf.ALLOW]
code = ctypes.create_string_buffer(bpf.packed(program))
packed = struct.pack("HP", len(program), ctypes.addressof(code))
libc.prctl(22, 2, ctypes.create_string_buffer(packed))
os.execvp(sys.argv[2], sys.argv[2:])
"""
LANDLOCK = [444, 445, 446]
#: PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT
OPTIONS = [22, 24, 38, 47]


@pytest.mark.parametrize(
    ("error", "options", "calls", "parts"),
    [
        (errno.EPERM, OPTIONS, ("seccomp", "capset"), set()),
        (errno.ENOSYS, [], ("seccomp",), {"no_new_privs", "capabilities", "seccomp"}),
        (errno.EPERM, [], ("capset",), {"no_new_privs", "seccomp"}),
    ],
    ids=["nothing can be given up", "an old kernel", "a filter of a runtime's"],
)
def test_it_serves_without_what_cannot_be_had(gateway, tmp_path, error, options, calls, parts):
    """Each part that does not hold is told, by a metric and in the log; all is read."""
    found = architecture()
    known = {**numbers(syscalls.OWN, found), **numbers(syscalls.REFUSED, found)}
    refused = json.dumps([error, options, [*LANDLOCK, *(known[call] for call in calls)]])
    enter = ("nsenter", f"--net=/run/netns/{gateway.name}")
    prefix = (*enter, sys.executable, "-c", REFUSING, refused)
    with running(tmp_path / "log", prefix=prefix) as exporter:
        served = page(gateway, exporter)
        assert {part for part, holds in held(served).items() if holds} == parts
        assert served.total("nat_rules", action="masquerade") == 3
        (line,) = exporter.wait_for_log(r'msg="sandbox: (.*)"')
        assert all(f"{part} (" in line for part in set(PARTS) - parts)


# -- what is refused ---------------------------------------------------------------------------


#: Makes attempts as root, on this machine's files; what mounts and names are changed to is seen by
#: nobody else. The first argument is a folder to take for sysctl.d, or empty.
BY_HAND = f"""
set -eu
[ -z "$1" ] || mount --bind "$1" /etc/sysctl.d
exec {sys.executable} -m lab.attempts container "$2"
"""
_listeners = []


def _listen(address):
    """Listen on an abstract socket, in the process that this is called in."""
    _listeners.append(socket.socket(socket.AF_UNIX))
    _listeners[-1].bind("\0" + address)
    _listeners[-1].listen()


@pytest.fixture
def attempts(gateway, tmp_path):
    """Return a function that tells how each attempt of an attacker ends who is root."""
    abstract = str(tmp_path / "abstract")
    gateway.call(_listen, abstract)
    place = str(tmp_path / "socket")
    secrets = {"handle": handle_of("/etc/shadow"), "socket": abstract, "path": place}
    path = f"PYTHONPATH={os.pathsep.join(entry for entry in sys.path if entry)}"

    def attempt(*, sandbox, sysctl_d=""):
        text = json.dumps({**secrets, "sandbox": sandbox})
        apart = ("unshare", "--mount", "--uts", "--ipc", "sh", "-c", BY_HAND, "sh")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(place)
            listener.listen()
            said = gateway.run("env", path, *apart, str(sysctl_d), text)
        os.unlink(place)
        return json.loads(said)

    return attempt


@pytest.mark.parametrize("sandbox", [False, True])
def test_the_table_is_true_of_root(attempts, sandbox):
    """It says what is possible with all capabilities, and what is left of that."""
    met = attempts(sandbox=sandbox)
    said = claims("root" if sandbox else "root, disabled")
    secrets = "read shadow, sudoers"
    if sandbox and not os.path.exists("/etc/sysctl.d/99-sysctl.conf"):
        said[secrets] = bool(lacking())
    assert seen(met) == said


def test_root_reads_no_secret_where_no_link_leads_to_its_folder(attempts, tmp_path):
    """The footnote of the table: a link in sysctl.d to /etc is what keeps /etc readable."""
    (tmp_path / "sysctl.d").mkdir()
    met = attempts(sandbox=True, sysctl_d=tmp_path / "sysctl.d")
    assert seen(met)["read shadow, sudoers"] is bool(lacking())


def in_child(function):
    """Run `function` in a process of its own; what it asserts there holds."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            os.write(write, traceback.format_exc().encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as said:
        problem = said.read().decode()
    os.waitpid(pid, 0)
    assert problem == ""


def error_of(function, *arguments):
    """Return the name of the error that a call ends with; empty where it does not."""
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""


def test_what_is_given_up_is_gone(tmp_path):
    """Programs, files, sockets, signals and tables; what serving takes goes on to work."""
    secret = tmp_path / "secret"
    secret.touch()
    parent = os.getpid()

    def attempt():
        raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        confine(Paths(), ())
        refused = {
            "fork": error_of(os.fork),
            "execute": error_of(os.execv, "/bin/true", ["true"]),
            "write": error_of(os.open, "/proc/sys/net/ipv4/ip_forward", os.O_WRONLY),
            "create": error_of(os.open, tmp_path / "new", os.O_CREAT),
            "remove": error_of(os.unlink, secret),
            "unix": error_of(socket.socket, socket.AF_UNIX),
            "packet": error_of(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
            "stream": error_of(socket.socket, socket.AF_INET, socket.SOCK_STREAM),
            "generic netlink": error_of(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 16),
            "signal": error_of(os.kill, parent, 0),
            "identity": error_of(os.setuid, 1),
            # IPT_SO_SET_REPLACE; without the filter it is EINVAL, or ENOPROTOOPT
            "legacy table": error_of(raw.setsockopt, socket.IPPROTO_IP, 64, b"x"),
            # SIOCSIFFLAGS
            "interface": error_of(fcntl.ioctl, raw, 0x8914, bytes(40)),
        }
        assert set(refused.values()) == {"EPERM"}, refused
        if not lacking():
            assert error_of(os.open, secret, os.O_RDONLY) == "EACCES"
            assert error_of(os.listdir, tmp_path) == "EACCES"
        thread = threading.Thread(target=socket.if_nameindex)
        thread.start()
        thread.join()
        for arguments in (
            *((socket.AF_NETLINK, socket.SOCK_RAW, protocol) for protocol in (0, 12)),
            *((family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)),
        ):
            socket.socket(*arguments).close()
        for one in socket.socketpair():
            one.close()
        signal.raise_signal(signal.SIGCHLD)

    in_child(attempt)


def test_a_text_file_is_written_to_its_folder_only(tmp_path):
    """And nothing of another folder is read where the kernel has Landlock."""
    (tmp_path / "folder").mkdir()

    def attempt():
        confine(Paths(), (), str(tmp_path / "folder"))
        (tmp_path / "folder/a").write_text("page")
        (tmp_path / "folder/a").replace(tmp_path / "folder/b")
        assert (tmp_path / "folder/b").read_text() == "page"
        (tmp_path / "folder/b").unlink()
        if not lacking():
            assert error_of(os.open, tmp_path / "new", os.O_CREAT | os.O_WRONLY) == "EACCES"

    in_child(attempt)
