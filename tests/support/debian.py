"""Packages of other Debian suites, unpacked below the cache and not installed.

The mirror is the one that this machine's apt is configured with; no root is needed. What was once
unpacked is used again: remove the cache to get newer versions.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from support.locked import locked

APT = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIMEOUT = 300
#: Files of a root file system: the packages that were wanted, and all with their versions.
MADE_OF, VERSIONS = ".made-of", ".versions"
_MERGED = ("bin", "lib", "lib64", "sbin")  #: directories that are links to those of /usr


class UnavailableError(Exception):
    """There is no apt, no mirror, no network or no such package; the text says which."""


class Mirror(NamedTuple):
    """Where suites and their security updates are."""

    main: str
    security: str


def cache_folder() -> Path:
    """Return the folder outside the tree where what was fetched is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "netfilter_exporter-tests" / "debian"


def fetch(suite: str, packages: Iterable[str]) -> dict[str, Path]:
    """Return, for each package of `suite`, the folder that it is unpacked in.

    `suite` is what a sources list names: bullseye, trixie-backports, bookworm-security, sid.
    Dependencies are not followed: see `dependencies`. Raises `UnavailableError`.
    """
    wanted = list(dict.fromkeys(packages))
    with _of_suite(suite) as folder:
        unpacked = folder / "unpacked"
        missing = [name for name in wanted if not (unpacked / name).is_dir()]
        if missing:
            _update(suite, folder)
            for name in missing:
                _unpack(folder, name, unpacked / name)
    return {name: unpacked / name for name in wanted}


def root(suite: str, packages: Iterable[str]) -> Path:
    """Return a root file system: `packages` and what they depend on, unpacked over each other.

    No script of theirs was run. Each is resolved alone, so some may conflict with each other. There
    is one root of a suite, made again when it lacks what is wanted. Raises `UnavailableError`.
    """
    wanted = set(packages)
    with _of_suite(suite) as folder:
        found, made_of = folder / "root", folder / "root" / MADE_OF
        if not made_of.exists() or not wanted <= set(made_of.read_text().split()):
            _update(suite, folder)
            _unpack_root(folder, sorted(wanted), found)
            made_of.write_text("\n".join(wanted))
    return found


def versions(root_folder: Path) -> dict[str, str]:
    """Return the version of each package of what `root` returned."""
    lines = (root_folder / VERSIONS).read_text().splitlines()
    return dict(line.split() for line in lines)


def dependencies(suite: str, package: str) -> list[str]:
    """Return what `package` depends on directly, such as the kernel behind linux-image-amd64."""
    with _of_suite(suite) as folder:
        _update(suite, folder)
        text = _run(folder, "apt-cache", "depends", "--no-recommends", "--no-suggests", package)
    return re.findall(r"^ *Depends: ([^<\s]+)", text, re.MULTILINE)


def stanzas(suite: str, packages: Iterable[str]) -> str:
    """Return what the suite's package list says of each of `packages`."""
    with _of_suite(suite) as folder:
        _update(suite, folder)
        return _run(folder, "apt-cache", "show", "--no-all-versions", *packages)


def version(package_folder: Path) -> str:
    """Return the version of a package that `fetch` unpacked."""
    return (package_folder / ".version").read_text().strip()


def mirror(apt: Path = APT) -> Mirror:
    """Return the Debian mirror of this machine's apt; raises `UnavailableError`."""
    addresses = [address for text in _sources(apt) for address in _addresses(text)]
    main = _ending(addresses, "/debian")
    if main is None:
        raise UnavailableError(f"{apt} names no Debian mirror")
    return Mirror(main, _ending(addresses, "/debian-security") or f"{main}-security")


def _sources(apt: Path) -> Iterator[str]:
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix in {".list", ".sources"} and file.is_file():
            yield file.read_text()


def _addresses(text: str) -> list[str]:
    """Return the addresses of both forms: `deb [options] URI suite ...` and `URIs: URI ...`."""
    found: list[str] = []
    for line in text.splitlines():
        one_line = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)", line)
        stanza = re.match(r"URIs:\s*(.*)", line)
        found += [one_line[1]] if one_line else stanza[1].split() if stanza else []
    return found


def _ending(addresses: Iterable[str], path: str) -> str | None:
    for address in addresses:
        if urlsplit(address).path.rstrip("/").endswith(path):
            return address.rstrip("/")
    return None


@contextlib.contextmanager
def _of_suite(suite: str) -> Iterator[Path]:
    """Hold the suite's folder for this process alone."""
    with locked(cache_folder() / suite) as folder:
        for name in ("lists/partial", "archives/partial", "unpacked", "empty"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        yield folder


def _update(suite: str, folder: Path) -> None:
    """Load the suite's package lists, once in the cache's life."""
    done = folder / "sources.list"
    if done.exists():
        return
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise UnavailableError("this machine has no apt-get")
    found = mirror()
    address = found.security if suite.endswith("-security") else found.main
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    (folder / "status").touch()
    done.write_text(f"deb {signed}{address} {suite} main\n")
    try:
        _run(folder, "apt-get", "-qq", "update")
    except UnavailableError:
        done.unlink()
        raise


def _unpack(folder: Path, name: str, target: Path) -> None:
    archives = folder / "archives"
    for old in archives.glob(f"{name}_*.deb"):
        old.unlink()
    _run(folder, "apt-get", "-qq", "download", name, cwd=archives)
    (package,) = archives.glob(f"{name}_*.deb")
    half = target.with_name(f".{name}")
    shutil.rmtree(half, ignore_errors=True)
    _run(folder, "dpkg-deb", "-x", str(package), str(half))
    (half / ".version").write_text(_run(folder, "dpkg-deb", "-f", str(package), "Version"))
    half.rename(target)  # there at once or not at all
    package.unlink()


def _unpack_root(folder: Path, names: Iterable[str], target: Path) -> None:
    archives = folder / "archives"
    shutil.rmtree(target, ignore_errors=True)
    for name in _MERGED:
        (target / "usr" / name).mkdir(parents=True)
        (target / name).symlink_to(f"usr/{name}")
    for name in names:
        options = ("-qq", "-y", "--no-install-recommends", "--download-only")
        _run(folder, "apt-get", *options, "install", name)
    found = [_extract(folder, package, target) for package in sorted(archives.glob("*.deb"))]
    (target / VERSIONS).write_text("".join(found))


def _extract(folder: Path, package: Path, target: Path) -> str:
    """Unpack a package through links to directories, and remove it; return name and version."""
    files = folder / "files.tar"
    with files.open("wb") as stream:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=stream, check=True)
    _run(folder, "tar", "-xf", str(files), "--keep-directory-symlink", "-C", str(target))
    files.unlink()
    line = _run(folder, "dpkg-deb", "-W", "--showformat=${Package} ${Version}\n", str(package))
    package.unlink()
    return line


def _run(folder: Path, program: str, *arguments: str, cwd: Path | None = None) -> str:
    """Run a program; apt's own programs see nothing of this machine's packages and lists."""
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "empty",
        "Dir::Etc::preferences": folder / "no-preferences",
        "Dir::Etc::preferencesparts": folder / "empty",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
    }
    given = [f"-o{key}={value}" for key, value in options.items()] if "apt" in program else []
    try:
        done = subprocess.run(
            [program, *given, *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"{program} {arguments[0]}: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{program} {arguments[0]}: {error}") from error
    return done.stdout
