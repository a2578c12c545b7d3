"""The containers that are shipped: they serve everything, and an attacker inside gets nowhere.

Each is started as its YAML says, by support.contained, on a host that is made up: the network
namespace, /proc and /sys are real, its files are in a folder.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import netfilter_exporter
from lab.attempts import handle_of
from support import manifests
from support.attacks import claims, seen
from support.contained import Start
from support.namespace import Failed
from support.page import Page
from support.process import COMMAND, ENVIRONMENT

ADDRESS = "127.0.0.1"
TESTS = Path(__file__).parents[1]
PACKAGES = Path(netfilter_exporter.__file__).parents[1]
RELEASE = Path("/proc/sys/kernel/osrelease").read_text().strip()
CONTAINERS = {
    "kubernetes": manifests.of_kubernetes(ADDRESS),
    "compose": manifests.of_compose(),
}
#: What the first version asked for: root, with the root of the host.
OPEN = manifests.Container(
    arguments=(),
    user=0,
    group=0,
    groups=(),
    capabilities=("CAP_NET_ADMIN", "CAP_DAC_READ_SEARCH"),
    permitted=True,
    no_new_privileges=True,
    read_only=True,
    mounts=(manifests.Mount("/", "/host", True, "dir"),),
)

#: Files of the host: content, mode, group. Groups are Debian's; 42 is shadow.
FILES = {
    "etc/shadow": ("root:$y$x", 0o640, 42),
    "etc/sudoers": ("root ALL=(ALL) ALL", 0o440, 0),
    "etc/machine-id": ("5eed" * 8, 0o444, 0),
    "etc/sysctl.conf": ("net.netfilter.nf_conntrack_acct = 1\n", 0o644, 0),
    "etc/sysctl.d/10-forward.conf": ("net.ipv4.ip_forward = 1\n", 0o644, 0),
    "usr/lib/sysctl.d/50-default.conf": ("net.netfilter.nf_conntrack_checksum = 0\n", 0o644, 0),
    "etc/modprobe.d/nat.conf": ("install nfnetlink_hook /bin/false\n", 0o644, 0),
    "usr/lib/modprobe.d/nat.conf": ("", 0o644, 0),
    f"usr/lib/modules/{RELEASE}/modules.dep": ("kernel/net/nfnetlink_hook.ko.xz:\n", 0o644, 0),
    f"usr/lib/modules/{RELEASE}/modules.builtin": ("kernel/net/nf_nat.ko\n", 0o644, 0),
    f"usr/lib/modules/{RELEASE}/modules.alias": ("", 0o644, 0),
    f"boot/config-{RELEASE}": ("CONFIG_MODULES=y\n", 0o644, 0),
    "root/secret": ("x", 0o600, 0),
}


class Host:
    """The files of a host, and its sockets: one in /run, one abstract in the namespace."""

    def __init__(self, folder, namespace):
        self.folder, self.namespace = folder, namespace
        for name, (content, mode, group) in FILES.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            os.chown(file, 0, group)
            file.chmod(mode)
        (folder / "lib").symlink_to("usr/lib")
        (folder / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
        (folder / "etc/sysctl.d/70-off.conf").symlink_to("/dev/null")
        for name in ("proc", "run", "sys"):
            (folder / name).mkdir()
        (folder / "root").chmod(0o700)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(folder / "run/docker.sock"))
        os.chmod(folder / "run/docker.sock", 0o660)
        self.socket.listen()
        self.abstract = f"{folder}/abstract"
        self.namespace.call(_listen, self.abstract)


_listeners = []


def _listen(address):
    """Listen on an abstract socket, in the process that this is called in."""
    _listeners.append(socket.socket(socket.AF_UNIX))
    _listeners[-1].bind("\0" + address)
    _listeners[-1].listen()


def _peer():
    """Return the user of the next peer of that socket."""
    peer, _ = _listeners[-1].accept()
    with peer:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


@pytest.fixture
def host(tmp_path, gateway):
    """A host."""
    made = Host(tmp_path / "host", gateway)
    yield made
    made.socket.close()


@pytest.fixture
def interpreter(tmp_path):
    """A Python with the capability that the Containerfile gives it."""
    copy = tmp_path / "image/python3"
    copy.parent.mkdir()
    shutil.copy(Path(sys.executable).resolve(), copy)
    name, effective = manifests.file_capabilities()
    # struct vfs_cap_data of linux/capability.h, revision 2
    words = (0x02000000 | effective, 1 << manifests.NUMBERS[name], 0, 0, 0)
    os.setxattr(copy, "security.capability", b"".join(w.to_bytes(4, "little") for w in words))
    return copy


@pytest.fixture
def start(host, interpreter, tmp_path):
    """Return a function that gives the command line for a module of Python in a container."""
    (tmp_path / "root").mkdir()
    image = {
        *(str(interpreter.parent), str(PACKAGES), str(TESTS), sys.prefix, sys.base_prefix, "/usr")
    }

    def command(container, *module):
        start = Start(
            root=str(tmp_path / "root"),
            host=str(host.folder),
            image=tuple(sorted(image)),
            mounts=tuple((m.source, m.target, m.read_only) for m in container.mounts),
            user=container.user,
            group=container.group,
            groups=container.groups,
            capabilities=container.capabilities,
            permitted=container.permitted,
            no_new_privileges=container.no_new_privileges,
            read_only=container.read_only,
            command=(str(interpreter), "-m", *module),
            environment={
                "PYTHONHOME": sys.base_prefix,
                "PYTHONPATH": os.pathsep.join((*filter(None, sys.path), str(TESTS / "kernel"))),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        apart = ("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
        script = (sys.executable, "-m", "support.contained", json.dumps(start._asdict()))
        return [*apart, "env", f"PYTHONPATH={TESTS}", *script]

    return command


def attempts(host, command, container, **more):
    """Return how each attempt ends that an attacker makes in a container."""
    handle = handle_of(str(host.folder / "etc/shadow"))
    secrets = json.dumps({"handle": handle, "socket": host.abstract, **more})
    said = host.namespace.run(*command(container, "lab.attempts", "container", secrets))
    return json.loads(said)


VOLATILE = re.compile(
    r"duration|timestamp|conntrack_(entries|count)|flow|ip_(out|in)|references|^process_"
)


@pytest.mark.parametrize("name", CONTAINERS)
def test_it_serves_everything(name, host, start):
    """Its page says all that root's says who sees the whole host, and nothing is denied."""
    container = CONTAINERS[name]
    ours = served(host, *start(container, "netfilter_exporter", *container.arguments))
    roots = served(host, *COMMAND, f"--path.rootfs={host.folder}")
    assert told(ours) == told(roots)
    states = [*ours.samples("scrape_collector_status"), *ours.samples("source_status")]
    assert {s.labels["status"] for s in states if s.value} <= {"ok", "no_data", "unsupported"}
    assert {sample.value for sample in ours.samples("nat_readable")} == {1}
    assert ours.total("nat_rules", backend="legacy", action="masquerade") == 2
    assert ours.total("conntrack_tracking", family="ipv4") == 1
    # Of sysctl.d in /etc, of the file that a link there names, and of /usr/lib.
    wanted = {sample.labels["name"] for sample in ours.samples("sysctl_wanted")}
    assert wanted == {
        "net.ipv4.ip_forward",
        "net.netfilter.nf_conntrack_acct",
        "net.netfilter.nf_conntrack_checksum",
    }


def told(page):
    """Return the samples that do not change from one scrape to the next."""
    return {line for line in page.lines() if not VOLATILE.search(line)}


def served(host, *command):
    """Return the page that a command serves in the namespace."""
    log = host.folder.parent / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{host.namespace.name}", *command],
            stderr=file,
            env=ENVIRONMENT,
        )
    try:
        return Page(_fetch(host, process, log))
    finally:
        # unshare --kill-child is no help here: changing the user clears the signal that it sets.
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


_FETCH = f"""
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen("http://{ADDRESS}:10042/metrics").read().decode())
"""


def _fetch(host, process, log):
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            return host.namespace.run(sys.executable, "-c", _FETCH)
        except Failed:
            time.sleep(0.1)
    return pytest.fail(log.read_text())


#: How each attempt ends that has to fail. ENOSYS: a kernel without modules.
REFUSED = {
    "mount": {"EPERM"},
    "host name": {"EPERM"},
    "clock": {"EPERM"},
    "kernel log": {"EPERM"},
    "packet socket": {"EPERM"},
    "shadow": {"ENOENT"},
    "sudoers": {"ENOENT"},
    "any sysctl": {"EACCES EROFS"},
    "any file of sysfs": {"EACCES EROFS"},
    "any file of the host": {"EACCES ELOOP"},
    "any folder": {"EROFS"},
    "any socket": {"none found"},
    "root of a process": {"none found"},
    "file handle": {"EPERM"},
    "module": {"EPERM", "ENOSYS"},
}
#: What the exporter gives up by itself.
CLOSED_BY_ITSELF = ("start of a program", "tcp socket", "legacy table", "interface")
#: What stays open, as README says: the capability is there to administrate the network, and what
#: is abstract belongs to the namespace of the network.
LEFT_OPEN = ("ruleset", "forwarding by netlink", "abstract socket", *CLOSED_BY_ITSELF)


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_attacker_gets_nowhere(name, host, start):
    """But for what CAP_NET_ADMIN is there for; a peer on a socket sees that it is not root."""
    container = CONTAINERS[name]
    met = attempts(host, start, container)
    assert seen(met) == claims("container, disabled")
    assert {key: met.pop(key) for key in LEFT_OPEN} == dict.fromkeys(LEFT_OPEN, "done")
    assert met.keys() == REFUSED.keys()
    assert {key: end for key, end in met.items() if end not in REFUSED[key]} == {}
    assert host.namespace.call(_peer) == container.user


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_table_is_true_of_containers(name, host, start):
    """Of both, where the exporter has given up what it does not need."""
    assert seen(attempts(host, start, CONTAINERS[name], sandbox=True)) == claims("container")


def test_the_processes_of_the_host_may_be_shown(host, start):
    """With /proc of the host, as README offers for `check`, nothing else opens."""
    container = with_processes(CONTAINERS["kubernetes"])
    met = attempts(host, start, container)
    assert "EACCES" in met["root of a process"]
    assert {key: met[key] for key in REFUSED if met[key].startswith("done")} == {}


def with_processes(container):
    """Return a container that also sees the processes of the host."""
    mount = manifests.Mount("/proc", "/host/proc", read_only=True, kind="dir")
    return container._replace(mounts=(*container.mounts, mount))


def test_root_would_reach_the_files_of_the_host(host, start):
    """As root it enters the root of any process of the host that has no more capabilities."""
    container = with_processes(CONTAINERS["kubernetes"])._replace(user=0, group=0)
    weak = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "sleep", "600"]
    with subprocess.Popen(weak) as process:
        try:
            met = attempts(host, start, container)
        finally:
            process.kill()
    assert met["root of a process"].startswith("done: /host/proc/")


def test_the_attempts_work_where_nothing_stops_them(host, start):
    """As root with the whole host, which the first version asked for, each finds what it seeks."""
    met = attempts(host, start, OPEN)
    sought = ("shadow", "sudoers", "any socket", "file handle", "any file of sysfs", "any folder")
    assert {key: met[key].split(":")[0] for key in sought} == dict.fromkeys(sought, "done")
    assert met["any socket"].endswith("/docker.sock")
    assert met["any sysctl"].startswith("done: /host/proc/sys/")
