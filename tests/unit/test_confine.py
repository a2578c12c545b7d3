"""sandbox/: numbers, what the filter decides, what stays readable, and that no part is vital."""

import ctypes
import errno
import os
import socket
import struct
import sys

import pytest

from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.sandbox import bpf, confine, places, seccomp, syscalls
from netfilter_exporter.sandbox.confine import PARTS, Sandbox
from netfilter_exporter.sandbox.syscalls import ABSENT, JUDGED, OWN, REFUSED, WRITING, Architecture
from support import needs

X86_64, AARCH64 = Architecture(0xC000003E, 0), Architecture(0xC00000B7, 1)
ARCHITECTURES = pytest.mark.parametrize("found", [X86_64, AARCH64], ids=["x86_64", "aarch64"])
TABLES = (REFUSED, WRITING, ABSENT, JUDGED, OWN)
ALLOWED = "allowed"


def verdict(program, audit, number, *arguments):
    """Return what a filter decides of a call, run as the kernel runs it: an errno, or `ALLOWED`."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*arguments, *[0] * 6)[:6])
    loaded, at = 0, 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == 0x06:
            return ALLOWED if constant == 0x7FFF0000 else constant & 0xFFFF
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", data, constant)
        elif code == 0x54:
            loaded &= constant
        else:
            holds = {
                0x15: loaded == constant,
                0x25: loaded > constant,
                0x35: loaded >= constant,
                0x45: bool(loaded & constant),
            }[code]
            at += if_true if holds else if_false


@pytest.fixture(params=[X86_64, AARCH64], ids=["x86_64", "aarch64"])
def call(request):
    """Return a function that gives the verdict of a process that serves, by the call's name."""
    found = request.param
    numbers = {}
    for table in TABLES:
        numbers |= syscalls.numbers(table, found)
    program = seccomp.program(found, writes=False)

    def judged(name, *arguments):
        return verdict(program, found.audit, numbers[name], *arguments)

    return judged


@ARCHITECTURES
def test_the_numbers_are_those_of_libseccomp(found):
    """Which has them from the kernel too, and says which calls an architecture lacks."""
    try:
        resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    except OSError:
        needs.lacks("missing: libseccomp.so.2", forced=needs.KERNEL)
    for table in TABLES:
        for name, row in table.items():
            number = resolve(found.audit, name.encode())
            assert row[found.column] == (number if number >= 0 else None), name


@ARCHITECTURES
@pytest.mark.parametrize("writes", [False, True])
def test_what_is_never_called_is_refused(found, writes):
    """With EPERM; what the C library can do without is not there, and all newer calls neither."""
    program = seccomp.program(found, writes=writes)
    assert len(program) < 4096  # BPF_MAXINSNS
    for name, number in syscalls.numbers(REFUSED, found).items():
        assert verdict(program, found.audit, number) == errno.EPERM, name
    for name, number in syscalls.numbers(WRITING, found).items():
        assert verdict(program, found.audit, number) == (ALLOWED if writes else errno.EPERM), name
    for number in (*syscalls.numbers(ABSENT, found).values(), syscalls.LAST + 1, 0x40000000):
        assert verdict(program, found.audit, number) == errno.ENOSYS
    # read and write, on either
    assert verdict(program, found.audit, {X86_64: 0, AARCH64: 63}[found]) == ALLOWED
    assert verdict(program, 0x40000003, 3) == errno.EPERM  # int 0x80, with other numbers


def test_sockets_are_of_two_kinds(call):
    """Netlink of routes and netfilter, and datagrams of the two families of IP."""
    for protocol in range(23):
        allowed = ALLOWED if protocol in {0, 12} else errno.EPERM
        assert call("socket", socket.AF_NETLINK, socket.SOCK_RAW, protocol) == allowed
    for family in range(46):
        for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW:
            allowed = family in {socket.AF_INET, socket.AF_INET6} and kind == socket.SOCK_DGRAM
            if family != socket.AF_NETLINK:
                flags = kind | socket.SOCK_CLOEXEC
                assert call("socket", family, flags) == (ALLOWED if allowed else errno.EPERM)


def test_legacy_tables_cannot_be_replaced(call):
    """Nor those of ebtables, arptables and IPVS; options of what listens can be set."""
    for level in socket.IPPROTO_IP, socket.IPPROTO_IPV6:
        for option in (64, 65, 96, 128, 1088):
            assert call("setsockopt", 3, level, option) == errno.EPERM
    assert call("setsockopt", 3, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == ALLOWED
    assert call("setsockopt", 3, socket.SOL_SOCKET, 64) == ALLOWED
    assert call("setsockopt", 3, socket.IPPROTO_TCP, socket.TCP_NODELAY) == ALLOWED


def test_interfaces_cannot_be_set_up(call):
    """What sets flags, addresses, routes and bridges; the name of an interface can be asked for."""
    for request in (0x8914, 0x8916, 0x890B, 0x89A0, 0x8946, 0x5412, 0x541C):
        assert call("ioctl", 3, request) == errno.EPERM
    for request in (0x8910, 0x8933, 0x5401, 0x5421, 0x5451):
        assert call("ioctl", 3, request) == ALLOWED


def test_only_threads_are_started(call):
    """And only to the process itself signals are sent."""
    assert call("clone", 0x3D0F00) == ALLOWED  # as pthread_create does
    assert call("clone", 17) == errno.EPERM  # as fork does
    assert call("tgkill", os.getpid(), 1, 6) == ALLOWED
    assert call("tgkill", 1, 1, 6) == errno.EPERM


def test_files_are_opened_for_reading(call):
    """A process that serves writes none."""
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_TMPFILE):
        assert call("openat", 3, 0, flag | os.O_CLOEXEC) == errno.EPERM
    for flag in (os.O_RDONLY, os.O_NONBLOCK, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_NOCTTY):
        assert call("openat", 3, 0, flag | os.O_CLOEXEC) == ALLOWED


def test_another_machine_is_told(monkeypatch):
    """Its calls have other numbers: it goes on without the filter, and says so."""
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(OSError, match="not known how s390x calls the kernel"):
        syscalls.architecture()


def test_a_part_that_fails_keeps_nothing_from_holding(monkeypatch, caplog):
    """Whatever it raises: the others are taken, and one line names it."""
    caplog.set_level("INFO")
    taken = []

    def steps(*_, **__):
        def take(part):
            taken.append(part)
            if part == "landlock":
                raise OSError(errno.ENOSYS, "Function not implemented")
            if part == "capabilities":
                raise ZeroDivisionError("a defect")

        return {part: lambda part=part: take(part) for part in PARTS}

    monkeypatch.setattr(confine, "_steps", steps)
    sandbox = confine.confine(Paths(), ())
    assert tuple(taken) == tuple(sandbox.parts) == PARTS
    assert [part for part, why in sandbox.parts.items() if not why] == ["no_new_privs", "seccomp"]
    (line,) = caplog.messages
    assert line == (
        "sandbox: no_new_privs, seccomp; without landlock (Function not implemented),"
        " capabilities (ZeroDivisionError: a defect)"
    )


def test_nothing_may_hold():
    """Of a process that was told to keep all of it."""
    assert str(Sandbox({"seccomp": "disabled"})) == "nothing; without seccomp (disabled)"


@pytest.fixture
def root(tmp_path):
    """A host's root with the directories that most have."""
    for name in ("etc/sysctl.d", "etc/modprobe.d", "run", "usr/lib/sysctl.d", "usr/local/lib"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def below(root, *files):
    """Return what stays readable of a root, relative to it."""
    found = places.readable(Paths(rootfs=str(root)), map(str, files))
    return {os.path.relpath(path, root) for path in found if path.startswith(f"{root}/")}


def test_directories_are_readable_not_files(root):
    """Those that are there; where one is missing, that above it: it may come."""
    found = below(root)
    assert {"etc/sysctl.d", "etc/modprobe.d", "etc/machine-id", "usr", "run"} <= found
    assert "etc" not in found
    (root / "etc/modprobe.d").rmdir()
    assert "etc" in below(root)


def test_a_link_opens_the_folder_that_it_leads_to(root):
    """As 99-sysctl.conf does: editors replace /etc/sysctl.conf, and a file has no other name."""
    (root / "etc/sysctl.conf").touch()
    (root / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    (root / "etc/sysctl.d/10-off.conf").symlink_to("/dev/null")
    assert "etc" in below(root)
    assert "dev" not in below(root)


def test_a_config_map_can_be_swapped(root):
    """The folder of each file, where it is said to be and where links lead."""
    for name in ("config/..1", "live", "archive"):
        (root / name).mkdir(parents=True)
    (root / "config/..1/config.yml").touch()
    (root / "config/..data").symlink_to("..1")
    (root / "config/config.yml").symlink_to("..data/config.yml")
    (root / "archive/key1.pem").touch()
    (root / "live/key.pem").symlink_to("../archive/key1.pem")
    found = below(root, root / "config/config.yml", root / "live/key.pem")
    assert {"config", "live", "archive"} <= found


def test_the_root_of_all_is_never_readable(monkeypatch):
    """Not by a file in it, nor where the command is started there."""
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "path", ["", "/", *sys.path])
    found = places.readable(Paths(), ["/config.yml"])
    assert "/" not in found
    assert "/config.yml" in found
    assert {"/proc", "/sys", sys.base_prefix} <= set(found)


def test_a_program_has_the_form_of_the_kernel():
    """struct sock_filter: eight bytes each."""
    assert bpf.packed(bpf.fail(1)) == bytes.fromhex("0600000001000500")
