"""System calls that the exporter never makes, by what they could do, and their numbers.

Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h, which arm64
has (v6.18). A call that an architecture lacks has no number there.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping
from typing import NamedTuple


class Architecture(NamedTuple):
    """How a machine calls the kernel."""

    audit: int  #: AUDIT_ARCH_*, include/uapi/linux/audit.h
    column: int  #: of the tables below


_ARCHITECTURES = {"x86_64": Architecture(0xC000003E, 0), "aarch64": Architecture(0xC00000B7, 1)}

_Numbers = Mapping[str, tuple["int | None", "int | None"]]

#: The last call that was there when these tables were made out: what newer ones do is unknown.
LAST = 450  # set_mempolicy_home_node

#: Programs, other processes, the kernel itself, the machine, mounts, namespaces, keys, identities.
REFUSED: _Numbers = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "uselib": (134, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    # What is put into its ring is done without the filter being asked.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "_sysctl": (156, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "setgroups": (116, 159),
    "capset": (126, 91),
}

#: Changes of files, which a process that serves never makes.
WRITING: _Numbers = {
    "creat": (85, None),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}

#: With arguments that a filter cannot read: the C library does without where the kernel has none.
#: A thread is started with clone then, and no file is opened with openat2 by anybody here.
ABSENT: _Numbers = {"clone3": (435, 435), "openat2": (437, 437)}

#: Refused by their arguments, see seccomp.py.
JUDGED: _Numbers = {
    "open": (2, None),
    "openat": (257, 56),
    "socket": (41, 198),
    "setsockopt": (54, 208),
    "ioctl": (16, 29),
    "clone": (56, 220),
    "tgkill": (234, 131),
}

#: What the filter is installed with.
OWN: _Numbers = {"seccomp": (317, 277)}


def architecture() -> Architecture:
    """Return that of this process; raise OSError where its numbers are not known here."""
    machine = platform.machine()
    # A 32-bit process on a 64-bit kernel calls with other numbers.
    if machine not in _ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(0, f"not known how {machine or 'this machine'} calls the kernel")
    return _ARCHITECTURES[machine]


def numbers(table: _Numbers, found: Architecture) -> dict[str, int]:
    """Return the number of each call of a table that this architecture has."""
    columns = {name: row[found.column] for name, row in table.items()}
    return {name: number for name, number in columns.items() if number is not None}
