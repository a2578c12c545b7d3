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
    "coreutils",
    "curl",
    "dash",
    "dpkg",
    "grep",
    "gzip",
    "mawk",
    "mount",
    "procps",
    "prometheus-node-exporter",
    "sed",
    "systemd",
    "util-linux",
    # What those need.
    "libacl1",
    "libapparmor1",
    "libattr1",
    "libaudit1",
    "libblkid1",
    "libbrotli1",
    "libcap-ng0",
    "libcom-err2",
    "libcrypt1",
    "libcurl4",
    "libgcrypt20",
    "libgnutls30",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "liblz4-1",
    "libmount1",
    "libncursesw6",
    "libnettle8",
    "libnghttp2-14",
    "libp11-kit0",
    "libpam0g",
    "libproc2-0",
    "libpsl5",
    "librtmp1",
    "libsasl2-2",
    "libseccomp2",
    "libsmartcols1",
    "libssh2-1",
    "libsystemd-shared",
    "libsystemd0",
    "libtasn1-6",
    "libunistring2",
    "libuuid1",
)
#: What installs and removes a package, and what ours depends on.
_PACKAGING = (
    "diffutils",
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
    (target / "usr/bin/awk").symlink_to("mawk")
    (target / "init").symlink_to("usr/lib/systemd/systemd")


WORLD = World("systemd", (*userland.PACKAGES, *_PACKAGES, *_PACKAGING), _finish)
