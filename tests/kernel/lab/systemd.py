"""The root file system of a guest in which systemd is the first process, as on a Debian host.

Its units are Debian's own, but for logins: nobody logs in. There is no D-Bus: systemctl talks to
systemd itself.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from lab import userland
from lab.userland import World
from support import debian

_PACKAGES = (
    # What a host has.
    "mount",
    "procps",
    "prometheus-node-exporter",
    "systemd",
    # What those need.
    "libacl1",
    "libapparmor1",
    "libaudit1",
    "libblkid1",
    "libcap-ng0",
    "libcrypt1",
    "libgcrypt20",
    "libgpg-error0",
    "liblz4-1",
    "libmount1",
    "libncursesw6",
    "libpam0g",
    "libproc2-0",
    "libseccomp2",
    "libsmartcols1",
    "libsystemd-shared",
    "libsystemd0",
    "libuuid1",
)
#: What installs and removes a package, and what ours depends on.
_PACKAGING = (
    "diffutils",
    "dpkg",
    "init-system-helpers",
    "libc-bin",
    "libpython3-stdlib",
    "libsemanage2",
    "libsepol2",
    "libyaml-0-2",
    "login",
    "passwd",
    "perl-base",
    "python3",
    "python3-decorator",
    "python3-minimal",
    "python3-prometheus-client",
    "python3-psutil",
    "python3-yaml",
    "tar",
)
#: Nobody logs in, and nothing here is of use to what is tested.
_MASKED = (
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "getty.target",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-logind.service",
    "systemd-random-seed.service",
    "systemd-tmpfiles-clean.timer",
)
#: What base-passwd and systemd's scripts would write; the id of a machine that is not new.
_FILES = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nprometheus:x:100:100::/:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nprometheus:x:100:\n",
    "etc/machine-id": f"{'5eed' * 8}\n",
    "etc/hostname": "gateway\n",
    "etc/systemd/system/lab.service": f"""\
[Unit]
Description=The lab

[Service]
ExecStart=/usr/bin/{userland.PYTHON} -m lab.administrator /dev/ttyS1
Environment=PYTHONPATH=/opt/lab PYTHONDONTWRITEBYTECODE=1
StandardOutput=journal+console
StandardError=journal+console
""",
}


#: Of what dpkg keeps of an installed package.
_KEPT = re.compile(
    r"^(Package|Version|Architecture|Multi-Arch|Provides|Maintainer): .*$", re.MULTILINE
)


def _register(target: Path) -> None:
    """Tell dpkg what is installed, and put back what packages' scripts need of it."""
    admin = target / "var/lib/dpkg"
    for name in ("info", "updates", "triggers"):
        (admin / name).mkdir(parents=True, exist_ok=True)
    packages = (*userland.PACKAGES, *_PACKAGES, *_PACKAGING)
    stanzas = debian.stanzas(userland.SUITE, packages).split("\n\n")
    (admin / "status").write_text("".join(map(_installed, filter(str.strip, stanzas))))
    for folder in debian.fetch(userland.SUITE, ("python3", "python3-minimal")).values():
        kept = target / "usr/share/python3"
        shutil.copytree(folder / "usr/share/python3", kept, dirs_exist_ok=True)
    userland.compile_all(target, target / "usr/lib/python3")


def _installed(stanza: str) -> str:
    kept = "\n".join(match[0] for match in _KEPT.finditer(stanza))
    return f"{kept}\nStatus: install ok installed\nDescription: of the lab\n\n"


def _finish(target: Path) -> None:
    _register(target)
    for name, text in _FILES.items():
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    units = target / "etc/systemd/system"
    for name in _MASKED:
        (units / name).symlink_to("/dev/null")
    wants = units / "multi-user.target.wants"
    wants.mkdir()
    (wants / "lab.service").symlink_to("../lab.service")
    (target / "init").symlink_to("usr/lib/systemd/systemd")


WORLD = World("systemd", (*userland.PACKAGES, *_PACKAGES, *_PACKAGING), _finish)
