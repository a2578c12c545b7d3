"""In a guest with systemd: the life of the Debian package, from its installation to its purge."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.service import (
    NAME,
    CommandFailed,
    main_pid,
    page,
    process_status,
    properties,
    run,
    wait_for,
    write,
)

PACKAGE = Path("/opt/package.deb")
_DEBIAN_NAME = "netfilter-exporter"
_DEFAULTS = f"/etc/default/{NAME}"
_UNITS = (f"{NAME}.service", f"{NAME}.socket", f"{NAME}-textfile.timer")
_TEXT = f"{NAME}-textfile.service"
_BEFORE = Path("/run/before.json")
#: What the kernel shows, what is gone at a reboot, and what those write who install or log.
_NOT_COMPARED = {
    *("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/opt"),
    *("/var/log", "/var/lib/dpkg", "/var/lib/prometheus"),
}

Fact = dict[str, Any]


def package_found() -> Fact:
    """Remove what was installed by hand, and note what there is."""
    _remove_by_hand()
    _BEFORE.write_text(json.dumps(_files()))
    return {}


def package_installed() -> Fact:
    """Install it, and return how it serves without another command."""
    run(f"dpkg --install {PACKAGE}")
    text = wait_for(page)
    return {
        "page": text,
        "status": process_status(),
        "user": Path(f"/proc/{main_pid()}").owner(),
        "units": _states("ActiveState", "UnitFileState"),
    }


def package_chosen() -> Fact:
    """Choose the socket and the timer, too, as an administrator does."""
    write(_DEFAULTS, 'ARGS="--web.systemd-socket"\n')
    # An emulated CPU takes as many seconds for a start as a real one tenths.
    write(f"/run/systemd/system/{_TEXT}.d/emulated.conf", "[Service]\nTimeoutStartSec=180\n")
    run("systemctl daemon-reload")
    run(f"systemctl stop {NAME}")
    run(f"systemctl enable --now {NAME}.socket {NAME}-textfile.timer")
    run(f"systemctl start {_TEXT}")
    return {
        "units": _states("ActiveState", "UnitFileState"),
        "written": Path(f"/var/lib/{NAME}/{NAME}.prom").exists(),
    }


def package_removed() -> Fact:
    """Remove it."""
    run(f"dpkg --remove {_DEBIAN_NAME}")
    return _running()


def package_purged() -> Fact:
    """Purge it, and return what differs from the time before it was installed."""
    run(f"dpkg --purge {_DEBIAN_NAME}")
    before, after = json.loads(_BEFORE.read_text()), _files()
    return {
        **_running(),
        "new": sorted(after.keys() - before.keys()),
        "changed": sorted(name for name, hash_ in before.items() if after.get(name) != hash_),
        "user": _has_user(),
    }


#: In this order, at the end of all others.
STEPS = (package_found, package_installed, package_chosen, package_removed, package_purged)


def _states(*names: str) -> dict[str, dict[str, str]]:
    return {unit: properties(unit, *names) for unit in _UNITS}


def _running() -> Fact:
    """Return what of it still runs."""
    return {
        "units": _states("ActiveState", "LoadState"),
        "processes": [name for name in _commands() if NAME in name],
        "answers": _answers(),
    }


def _answers() -> bool:
    try:
        page("/-/healthy")
    except ConnectionRefusedError:
        return False
    return True


def _has_user() -> bool:
    with contextlib.suppress(CommandFailed):
        return bool(run(f"getent passwd {NAME}"))
    return False


def _commands() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (folder / "cmdline").read_text().replace("\0", " ")


def _files() -> dict[str, str]:
    """Return a hash of each file, nothing for a folder, by its path."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk("/"):
        kept = [name for name in folders if os.path.join(folder, name) not in _NOT_COMPARED]
        folders[:] = [name for name in kept if name != "__pycache__"]
        found.update({os.path.join(folder, name): "" for name in folders})
        # /etc/shadow- and its like keep what was before the last change of users.
        paths = (os.path.join(folder, name) for name in names if not name.endswith("-"))
        found.update({path: _hash(path) for path in paths})
    return found


def _hash(path: str) -> str:
    if os.path.islink(path):
        return os.readlink(path)
    # Others than those of /etc are told apart well enough by their size: hashing takes long here.
    with contextlib.suppress(OSError):
        if path.startswith("/etc/"):
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return str(os.stat(path).st_size)
    return "unreadable"


def _remove_by_hand() -> None:
    """Undo what the other steps have done: the units, the user, the wheel and its libraries."""
    run(f"systemctl disable --now {' '.join(_UNITS)}")
    run(f"systemctl stop {_TEXT}")
    for place in Path("/etc/systemd/system").glob("*"):
        if place.name.startswith((NAME, "attempts")):
            _remove(place)
    for name in (
        *(_DEFAULTS, f"/etc/{NAME}", f"/var/lib/{NAME}", f"/var/lib/private/{NAME}"),
        *(f"/usr/lib/sysusers.d/{NAME}.conf", f"/usr/local/bin/{NAME}"),
        f"/usr/local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/dist-packages",
    ):
        _remove(Path(name))
    run("systemctl daemon-reload")
    write("/etc/shadow", "", 0o640)  # what was made up for attempts has no form
    run(f"userdel {NAME}")


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
