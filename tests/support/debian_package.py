"""The Debian package, built as exporter/deploy/README.md says: of the sdist, for one suite."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

from support import wheel

NAME = "netfilter-exporter"
DEBIAN = wheel.ROOT / "exporter/deploy/debian"
_TOOLS = ("dpkg-buildpackage", "dh", "pyproject-build", "g++")
#: Debian's programs, and not those of the environment of the tests.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def version() -> str:
    """Return what the changelog says."""
    return _changelog(r"\((\S+)\)")


def suite() -> str:
    """Return the suite that the changelog names, for whose libraries the package is made."""
    return _changelog(r"\) (\w+);")


def _changelog(pattern: str) -> str:
    found = re.search(pattern, (DEBIAN / "changelog").read_text())
    assert found
    return found[1]


def lacking() -> str | None:
    """Return why it cannot be built here, None where it can."""
    release = _release()
    if release != suite():
        return f"the package is for {suite()}, and this is {release}"
    missing = [tool for tool in _TOOLS if not shutil.which(tool, path=_PATH)]
    return f"missing: {', '.join(missing)}" if missing else None


def _release() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "no Debian")
    except (OSError, AttributeError):  # not before Python 3.10
        return "no Debian"


def build(folder: Path) -> Path:
    """Return the .changes of a package and its source, built in `folder`; raises `BuildError`."""
    wheel.copy(folder / "tree")
    upstream, _, _ = version().partition("-")
    sdist = wheel.build("sdist", folder / "tree", folder / "dist")
    sdist.rename(folder / f"{NAME}_{upstream}.orig.tar.gz")
    shutil.unpack_archive(folder / f"{NAME}_{upstream}.orig.tar.gz", folder)
    (source,) = folder.glob(f"*-{upstream}")
    shutil.copytree(DEBIAN, source / "debian")
    run("dpkg-buildpackage", "-us", "-uc", cwd=source)
    (changes,) = folder.glob("*.changes")
    return changes


def run(*command: str, cwd: Path) -> str:
    """Run a command of Debian's and return what it says; raises `BuildError`."""
    environment = {"PATH": _PATH, "HOME": str(cwd), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise wheel.BuildError(f"{command[0]}: {done.stdout[-4000:]}")
    return done.stdout
