"""The sandbox of the systemd unit: nothing that is read is hidden, and nothing can be written.

systemd itself does not run here: its settings are made with unshare, mount and setpriv, as
systemd.exec(5) describes them, and its system call filter is compared with what strace sees.
"""

import base64
import contextlib
import grp
import http.client
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest
import trustme

from support import needs
from support.namespace import Failed
from support.netns_helper import running_helper
from support.page import Page
from support.process import COMMAND, ENVIRONMENT, running
from support.units import settings

UNIT = settings("netfilter_exporter.service")
CAPABILITIES = UNIT["CapabilityBoundingSet"][0].lower().replace("cap_", "+").split()
GROUPS = ",".join(str(grp.getgrnam(name).gr_gid) for name in UNIT["SupplementaryGroups"])

#: Where the one writable folder is: what leads to that of the test may be closed to other users.
PLACE = "/mnt"

#: ProtectProc=ptraceable, ProtectSystem=strict with one writable folder, ProtectKernelLogs=,
#: ProtectControlGroups=, then the paths that the unit names. procfs is mounted by itself: systemd
#: gives each service with ProtectProc= an instance of its own too.
MOUNTS = """
mount --make-rprivate /
{home}
mount --bind {writable} {place}
mount -o remount,ro,bind /
mount -t proc -o hidepid={processes} proc /proc
for path in {inaccessible} /dev/kmsg /proc/kmsg; do
  if [ -d $path ]; then mount -t tmpfs -o mode=0,ro tmpfs $path; fi
  [ ! -e $path ] || [ -d $path ] || mount --bind /dev/null $path
done
for path in {read_only} /sys/fs/cgroup; do
  mount --rbind $path $path
  mount -o remount,ro,bind $path
done
"""

#: RestrictAddressFamilies=: a seccomp filter that lets socket(2) make sockets of the families whose
#: numbers are given, and then the command that follows them. Offsets are those of seccomp_data.
FAMILIES = """
import ctypes, os, struct, sys
count = int(sys.argv[1])
families, command = list(map(int, sys.argv[2 : 2 + count])), sys.argv[2 + count :]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EAFNOSUPPORT = 0x7FFF0000, 0x00050000 | 97
number = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
program = [(LOAD, 0, 0, 0), (EQUAL, 0, count + 2, number), (LOAD, 0, 0, 16)]
program += [(EQUAL, count - place, 0, family) for place, family in enumerate(families)]
program += [(RETURN, 0, 0, EAFNOSUPPORT), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
filter = struct.pack("HP", len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(22, 2, ctypes.c_char_p(filter), 0, 0):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execvp(command[0], command)
"""

VOLATILE = re.compile(r"duration|timestamp|entries{|ip_(out|in)|references")


def opened():
    """Return commands that do as ProtectHome=, but let other users reach Python and the package.

    What the tests run with may lie below a folder that is closed to others, such as /root.
    """
    places = {Path(p) for p in (sys.prefix, sys.base_prefix, ENVIRONMENT["PYTHONPATH"])}
    closed = {place: found for place in places if (found := closed_parent(place))}
    stashes = {place: f"$stash/{number}" for number, place in enumerate(closed)}
    return [
        "stash=$(mktemp -d)",
        "mount -t tmpfs tmpfs $stash",
        *(f"mkdir {stash} && mount --bind {place} {stash}" for place, stash in stashes.items()),
        *(f"mount -t tmpfs -o mode=755 tmpfs {folder}" for folder in set(closed.values())),
        *(f"mkdir -p {place} && mount --bind {s} {place}" for place, s in stashes.items()),
        "umount -l $stash && rmdir $stash",
    ]


def closed_parent(place):
    """Return the first folder on the way that other users cannot enter and list, if any."""
    return next((p for p in reversed(place.parents) if p.stat().st_mode & 0o5 != 0o5), None)


def sandboxed(writable, *command, unit=UNIT):
    """Return the command line that runs `command` as the unit would."""
    mounts = MOUNTS.format(
        home="\n".join(opened()),
        writable=writable,
        place=PLACE,
        processes=unit["ProtectProc"][0].replace("default", "off"),
        inaccessible=" ".join(
            path.lstrip("-") for line in UNIT["InaccessiblePaths"] for path in line.split()
        ),
        read_only=UNIT["ReadOnlyPaths"][0],
    )
    inherited = ",".join(["-all", *CAPABILITIES])
    drop = [
        *("setpriv", "--reuid=65534", "--regid=65534", f"--groups={GROUPS}", "--no-new-privs"),
        *(f"--bounding-set={inherited}", f"--inh-caps={inherited}", f"--ambient-caps={inherited}"),
    ]
    families = [
        str(int(getattr(socket, name))) for name in UNIT["RestrictAddressFamilies"][0].split()
    ]
    drop += [sys.executable, "-c", FAMILIES, str(len(families)), *families]
    script = f"set -eu\n{mounts}\numask {UNIT['UMask'][0]}\nexec {shlex.join([*drop, *command])}\n"
    return ["unshare", "--mount", "--ipc", "--uts", "sh", "-c", script]


@pytest.fixture
def folder(tmp_path):
    """A folder that everybody may write to."""
    tmp_path.chmod(0o777)
    return tmp_path


def page(gateway, folder, wrap):
    """Return the page that the command writes, wrapped into a sandbox or not."""
    environment = [f"{key}={ENVIRONMENT[key]}" for key in ("PATH", "PYTHONPATH")]
    place = PLACE if wrap else folder
    command = ["env", *environment, *COMMAND, f"--textfile.directory={place}"]
    gateway.run(*(sandboxed(folder, *command) if wrap else command))
    file = folder / "netfilter_exporter.prom"
    text = file.read_text()
    file.unlink()
    return Page(text)


def test_the_sandbox_hides_nothing_that_is_read(gateway, folder):
    """As the unit runs it, the page says all that root's says."""
    free, confined = (page(gateway, folder, wrap) for wrap in (False, True))
    told, told_confined = (
        {line for line in made.lines() if not VOLATILE.search(line)} for made in (free, confined)
    )
    assert told_confined == told
    assert confined.total("nat_rules", action="masquerade") == 3
    assert confined.total("conntrack_tracking", family="ipv4") == 1
    assert confined.samples("source_status", status="denied") == []


@pytest.mark.parametrize(
    "path", ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/netfilter/nf_conntrack_acct"]
)
def test_what_the_capability_allows_the_sandbox_forbids(gateway, folder, path):
    """CAP_NET_ADMIN alone may write sysctls of the network; the unit cannot."""
    value = gateway.run("cat", path).strip()
    write = ["sh", "-c", f"echo {value} >{path}"]
    drop = ["setpriv", "--reuid=65534", "--clear-groups"]
    capable = ["--inh-caps=+net_admin", "--ambient-caps=+net_admin"]
    gateway.run(*drop, *capable, *write)
    with pytest.raises(Failed, match="Read-only file system"):
        gateway.run(*sandboxed(folder, *write))


def test_no_socket_of_another_family_can_be_made(gateway, folder):
    """Not of Unix, and so none of docker.sock and its like; asyncio's socketpair is no harm."""
    program = "import socket; socket.socketpair(); socket.socket(socket.AF_UNIX)"
    with pytest.raises(Failed, match="Address family not supported"):
        gateway.run(*sandboxed(folder, sys.executable, "-c", program))


@pytest.mark.parametrize(
    ("drop_in", "status"), [({}, "denied"), (settings("namespaces.conf"), "ok")], ids=["", "with"]
)
def test_the_drop_in_opens_other_namespaces(namespaces, folder, drop_in, status):
    """Without it, the collector is denied, and serves none."""
    host, other = namespaces(), namespaces()
    host.sh(f"ip link add v0 type veth peer name eth0 netns {other.name}")
    other.call(os.getpid)
    environment = [f"{key}={ENVIRONMENT[key]}" for key in ("PATH", "PYTHONPATH")]
    flags = [f"--textfile.directory={PLACE}", "--collector.namespaces"]
    command = ["env", *environment, *COMMAND, *flags]
    host.run(*sandboxed(folder, *command, unit={**UNIT, **drop_in}))
    made = Page((folder / "netfilter_exporter.prom").read_text())
    assert made.samples("scrape_collector_status", collector="namespaces", status=status)
    assert bool(made.samples("netns_info", netns=other.name)) == (status == "ok")


def test_group_0_does_not_see_other_processes(gateway, folder):
    """hidepid=invisible would show them to it."""
    with pytest.raises(Failed, match="No such file or directory"):
        gateway.run(*sandboxed(folder, "cat", "/proc/1/status"))


# -- system calls ------------------------------------------------------------------------------


#: systemd allows itself to start the service: it is always let through. The capabilities are what
#: the unit grants and the exporter keeps: it goes on where it may not set them.
NOT_NEEDED = {"execve", "capset"}


def filter_set(name):
    """Return the system calls of one of systemd's sets, with those of the sets in it."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    ).stdout
    found = set()
    for word in re.findall(r"^    (@?[\w-]+)$", listed, re.MULTILINE):
        found |= filter_set(word) if word.startswith("@") else {word}
    return found


def named_calls(word):
    """Return the system calls of a word of SystemCallFilter=: a set, or a single one."""
    return filter_set(word) if word.startswith("@") else {word}


def allowed(unit=UNIT):
    """Return the system calls that the unit lets through."""
    calls = set()
    for line in unit["SystemCallFilter"]:
        named = set().union(*map(named_calls, line.lstrip("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """Return a prefix that traces, and a function that gives the names of the calls made."""
    for tool in ("strace", "systemd-analyze"):
        if not shutil.which(tool):
            needs.lacks(f"missing: {tool}", forced=needs.KERNEL)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    file = tmp_path / "trace"

    def calls():
        return set(re.findall(r"^(?:\d+ +)?(\w+)\(", file.read_text(), re.MULTILINE))

    return ["strace", "-f", "-qq", "-o", str(file), "-e", "signal=none"], calls


def test_the_filter_lets_through_all_that_serving_takes(traced, tmp_path):
    """From the start over scrapes, TLS, passwords and a reload to the end."""
    prefix, calls = traced
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    config = tmp_path / "web.yml"
    config.write_text(
        "tls_server_config: {cert_file: both.pem, key_file: both.pem}\n"
        f"basic_auth_users: {{alice: {hashed}}}\n"
    )
    flags = ["--web.listen-address=127.0.0.1:0", f"--web.config.file={config}"]
    flags.append("--web.enable-lifecycle")
    with running(tmp_path / "log", *flags, prefix=prefix) as exporter:
        for method, path in (("GET", "/metrics"), ("GET", "/"), ("POST", "/-/reload")):
            assert ask(exporter.ports[0], method, path) == 200
        tasks = Path(f"/proc/{exporter.process.pid}/task/{exporter.process.pid}/children")
        os.kill(int(tasks.read_text()), signal.SIGTERM)
        exporter.process.wait(20)
    assert "accept4" in calls()
    assert calls() - allowed() - NOT_NEEDED == set()


def ask(port, method, path):
    """Return the status of a request with TLS and a password."""
    context = ssl._create_unverified_context()
    client = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    with contextlib.closing(client):
        authorization = base64.b64encode(b"alice:secret").decode()
        client.request(method, path, headers={"Authorization": f"Basic {authorization}"})
        return client.getresponse().status


def test_the_filter_lets_through_all_that_the_helper_takes(traced, namespace):
    """It enters a namespace and opens everything there."""
    prefix, calls = traced
    name = namespace.name.encode()
    with contextlib.ExitStack() as stack:
        helper = stack.enter_context(running_helper(prefix=prefix))
        connection = stack.enter_context(contextlib.closing(helper.client.connect()))
        assert name in set(connection.names())
        connection.open(name, "srn46tu").close()
    unit = settings("netfilter_exporter-netns.service")
    assert "setns" in calls()
    setpriv = {"setresuid", "setresgid", "setgroups", "capset", "execve"}  # as systemd does
    assert calls() - allowed(unit) - setpriv == set()


def test_the_filter_lets_through_all_that_a_text_file_takes(traced, tmp_path):
    """The one-shot service has the same filter."""
    prefix, calls = traced
    subprocess.run(
        [*prefix, *COMMAND, f"--textfile.directory={tmp_path}"],
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
    )
    assert "fsync" in calls()
    assert calls() - allowed() - NOT_NEEDED == set()
    textfile = settings("netfilter_exporter-textfile.service")
    assert textfile["SystemCallFilter"] == UNIT["SystemCallFilter"]
