"""Tries what an attacker would who owns the exporter, and prints how each attempt ends.

    python -m lab.attempts unit|container [SECRETS]

It is started in place of the exporter, by systemd with all settings of its unit, as a container
would be, or as root. SECRETS is JSON: `handle` of a file that only root reads (type, bytes in
hexadecimal), `socket`, an abstract one of another process in the same network namespace, `path`,
that of one in the file system where it need not be sought, and `sandbox`, whether the process first
gives up what the exporter gives up by itself.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.sandbox.confine import confine

_CLONE_NEWUSER = 0x10000000
_MS_REMOUNT, _MS_BIND = 32, 4096
_DONE = "done"
#: System calls that the C library has no name for, or not on every distribution, on x86-64.
_INIT_MODULE, _OPEN_BY_HANDLE_AT = 175, 304
#: include/uapi/linux/rtnetlink.h, if_link.h and ip.h (v6.18)
_RTM_SETLINK, _NLM_F_REQUEST, _NLM_F_ACK, _NLMSG_ERROR = 19, 1, 4, 2
_IFLA_AF_SPEC, _IFLA_INET_CONF, _IPV4_DEVCONF_FORWARDING = 26, 1, 1
#: include/uapi/linux/netfilter_ipv4/ip_tables.h and sockios.h
_IPT_SO_SET_REPLACE, _SIOCGIFFLAGS, _SIOCSIFFLAGS = 64, 0x8913, 0x8914

#: Where each way of running may show a part of the host.
_PROCS = ("/proc", "/host/proc")
_ROOTS = ("", "/host")
_SHADOW = "etc/shadow"


class Refused(Exception):
    """No attempt of several got through: the text names their errors."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    result = getattr(_libc(), name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


def _any(attempt: Callable[[str], object], names: Iterable[str]) -> str:
    """Return the first name with which `attempt` gets through; raise Refused where none does."""
    errors = set()
    for name in names:
        error = _error(attempt, name)
        if error is None:
            return name
        errors.add(error)
    raise Refused(" ".join(sorted(errors)) or "none found")


def _error(attempt: Callable[[str], object], name: str) -> str | None:
    try:
        attempt(name)
    except OSError as error:
        return _name(error)
    return None


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def _files(*roots: str) -> Iterator[str]:
    """Yield each file below `roots`, links and other procfs and sysfs left out."""
    for root in roots:
        for folder, _, names in os.walk(root):
            yield from (f"{folder}/{name}" for name in names)


def _writable(name: str) -> None:
    """Open a file for writing, and write nothing."""
    os.close(os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW))


def _creatable(folder: str) -> None:
    os.close(os.open(f"{folder}/attempt", os.O_WRONLY | os.O_CREAT))
    os.unlink(f"{folder}/attempt")


def _read(name: str) -> None:
    with open(name, "rb") as file:
        file.read(1)


def _folders(root: str) -> Iterator[str]:
    return (folder for folder, _, _ in os.walk(root))


def _sockets() -> Iterator[str]:
    """Yield each Unix socket that can be seen."""
    for folder, names, files in os.walk("/"):
        names[:] = [name for name in names if f"{folder}{name}" not in ("/proc", "/sys")]
        for name in files:
            path = os.path.join(folder, name)
            try:
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    yield path
            except OSError:
                continue


def _connect(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)


def _roots_of_processes() -> Iterator[str]:
    for proc in _PROCS:
        if os.path.isdir(proc):
            for pid in filter(str.isdigit, os.listdir(proc)):
                if int(pid) != os.getpid():
                    yield from (f"{proc}/{pid}/{link}/{_SHADOW}" for link in ("root", "cwd"))


def handle_of(name: str) -> tuple[int, str]:
    """Return the handle of a file, type and content, as name_to_handle_at(2) gives it."""
    at_cwd, room = -100, 128  # AT_FDCWD, MAX_HANDLE_SZ
    buffer = ctypes.create_string_buffer(struct.pack("=Ii", room, 0), 8 + room)
    mount = ctypes.c_int()
    _call("name_to_handle_at", at_cwd, os.fsencode(name), buffer, ctypes.byref(mount), 0)
    size, kind = struct.unpack_from("=Ii", buffer)
    return kind, buffer.raw[8 : 8 + size].hex()


def _by_handle(kind: int, content: str) -> str:
    """Open a file by its handle, with whatever can be seen of its file system."""
    raw = bytes.fromhex(content)
    handle = ctypes.create_string_buffer(struct.pack("=Ii", len(raw), kind) + raw)

    def attempt(folder: str) -> None:
        mount = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.close(_call("syscall", _OPEN_BY_HANDLE_AT, mount, handle, os.O_RDONLY))
        finally:
            os.close(mount)

    return _any(attempt, ["/", *_folders("/host")])


def _ruleset() -> None:
    """Add a table, by the library: another program need not get the capability."""
    nft = ctypes.CDLL("libnftables.so.1")
    nft.nft_ctx_new.restype = ctypes.c_void_p
    if nft.nft_run_cmd_from_buffer(ctypes.c_void_p(nft.nft_ctx_new(0)), b"add table ip attempt"):
        raise OSError(errno.EPERM, "nft")


def _forwarding_by_netlink() -> None:
    """Set forwarding of lo to what it is, without /proc/sys."""
    value = int(Path("/proc/sys/net/ipv4/conf/lo/forwarding").read_text())
    conf = _attribute(_IPV4_DEVCONF_FORWARDING, struct.pack("=I", value))
    spec = _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET, _attribute(_IFLA_INET_CONF, conf)))
    body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex("lo"), 0, 0) + spec
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asked:
        asked.send(struct.pack("=IHHII", 16 + len(body), _RTM_SETLINK, flags, 1, 0) + body)
        answer = asked.recv(4096)
    _, kind, _, _, _, code = struct.unpack_from("=IHHIIi", answer)
    if kind == _NLMSG_ERROR and code:
        raise OSError(-code, "RTM_SETLINK")


def _program() -> None:
    """Start a program."""
    os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", ":"], {}), 0)


def _legacy_table() -> None:
    """Come as far as to have the kernel look at how long the new table is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.setsockopt(socket.IPPROTO_IP, _IPT_SO_SET_REPLACE, b"x")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise


def _interface() -> None:
    """Set the flags of lo to what they are."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16sH22x", b"lo", 0)  # struct ifreq
        fcntl.ioctl(asked, _SIOCSIFFLAGS, fcntl.ioctl(asked, _SIOCGIFFLAGS, request))


def _attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content


def _write(name: str) -> None:
    Path(name).write_text(Path(name).read_text() if Path(name).exists() else "x")


def _executable() -> None:
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    mmap.mmap(-1, mmap.PAGESIZE, prot=everything).close()


#: Everywhere.
ATTEMPTS: dict[str, Callable[[], object]] = {
    "any sysctl": lambda: _any(_writable, _files(*(f"{proc}/sys" for proc in _PROCS))),
    "any file of sysfs": lambda: _any(_writable, _files("/sys", "/host/sys")),
    "any socket": lambda: _any(_connect, _sockets()),
    "shadow": lambda: _any(_read, (f"{root}/{_SHADOW}" for root in _ROOTS)),
    "sudoers": lambda: _any(_read, (f"{root}/etc/sudoers" for root in _ROOTS)),
    "root of a process": lambda: _any(_read, _roots_of_processes()),
    "module": lambda: _call("syscall", _INIT_MODULE, 0, 0, b""),
    "mount": lambda: _call("mount", 0, b"/proc/sys", 0, _MS_REMOUNT | _MS_BIND, 0),
    "host name": lambda: socket.sethostname("x"),
    "clock": lambda: _call("adjtimex", bytes([1]) + bytes(255)),
    "kernel log": lambda: _call("klogctl", 3, 0, 0),
    "packet socket": lambda: socket.socket(socket.AF_PACKET).close(),
    "tcp socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
    "start of a program": _program,
    "legacy table": _legacy_table,
    "interface": _interface,
    "ruleset": _ruleset,
    "forwarding by netlink": _forwarding_by_netlink,
}
#: What only the unit closes by itself, or only it has.
OF_THE_UNIT: dict[str, Callable[[], object]] = {
    "hash size": lambda: _write("/sys/module/nf_conntrack/parameters/hashsize"),
    "configuration": lambda: _write("/etc/default/netfilter_exporter"),
    "program": lambda: _write("/usr/local/bin/netfilter_exporter"),
    "state": lambda: _write("/var/lib/x"),
    "what runs": lambda: _write("/run/x"),
    "locks": lambda: _write("/run/lock/x"),
    "shared memory": lambda: _write("/dev/shm/x"),
    "home": lambda: _read("/root/secret"),
    "kernel messages": lambda: _read("/dev/kmsg"),
    "other processes": lambda: _read("/proc/1/status"),
    "signal": lambda: os.kill(1, signal.SIGCONT),
    "unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "user namespace": lambda: _call("unshare", _CLONE_NEWUSER),
    "executable memory": _executable,
}
#: What only a container has.
OF_THE_CONTAINER: dict[str, Callable[[], object]] = {
    "any file of the host": lambda: _any(_writable, _files("/host")),
    "any folder": lambda: _any(_creatable, (*_folders("/host"), "/", "/tmp", "/etc")),
}


def outcome(attempt: Callable[[], object]) -> str:
    """Return the name of the errors that an attempt meets; else "done", and with what."""
    try:
        found = attempt()
    except OSError as error:
        return _name(error)
    except Refused as refused:
        return str(refused)
    return f"{_DONE}: {found}" if isinstance(found, str) else _DONE


def main(which: str, text: str = "{}") -> None:
    """Try everywhere's attempts, and those that `which` ("unit" or "container") names."""
    secrets = json.loads(text)
    if secrets.get("sandbox"):
        confine(Paths(), ())
    attempts = {**ATTEMPTS, **(OF_THE_UNIT if which == "unit" else OF_THE_CONTAINER)}
    if "handle" in secrets:
        attempts["file handle"] = lambda: _by_handle(*secrets["handle"])
    if "socket" in secrets:
        attempts["abstract socket"] = lambda: _connect("\0" + secrets["socket"])
    if "path" in secrets:
        attempts["any socket"] = lambda: _connect(secrets["path"])
    json.dump({name: outcome(attempt) for name, attempt in attempts.items()}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
