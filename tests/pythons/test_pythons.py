"""The unit tests on each Python from 3.9 that is found here, the web server's on the outermost.

What a server needs of asyncio and ssl was there in the first version and is there in the last.
Tests of properties take most of the time: they get few examples, and a property that holds on both
holds in between.
The oldest Python has the oldest libraries that setup.cfg admits, the others the newest. The newest
Python is Debian's where nothing else has it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from support import debian, debian_python, needs, wheel

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", debian_python.VERSION)
UNIT, WEB = "tests/unit", "tests/web"
#: What those tests need, and no more: not every Python has wheels of the rest.
PACKAGES = ("hypothesis", "pytest", "pytest-timeout", "trustme")


def candidates(version):
    """Yield the interpreters of a version: on PATH, and those that a version manager hides."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    yield from (Path(folder, f"python{version}") for folder in folders)
    manager = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    yield from manager.glob(f"{version}.*/bin/python")


def interpreter(version):
    """Return the first that runs and can make environments: a shim may name one that does not."""
    for path in candidates(version):
        if os.access(path, os.X_OK) and run(path, "-c", "import venv").returncode == 0:
            return path
    if version == debian_python.VERSION:
        with needs.packages(forced=False):
            return debian_python.interpreter()
    return None


def run(*command, **options):
    return subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )


def succeed(*command, **options):
    done = run(*command, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def oldest_libraries():
    """Return what setup.cfg requires, each in the oldest version that it admits."""
    setup = ConfigParser()
    setup.read(wheel.ROOT / "setup.cfg")
    return [line.replace(">=", "==") for line in setup["options"]["install_requires"].split()]


def install_pip(version, place):
    """Install the newest pip of a version: Debian's Python comes without, or with one too old."""
    target = ("--target", place / f"lib/python{version}/site-packages")
    chosen = (f"--python-version={version}", "--only-binary=:all:")
    succeed(sys.executable, "-m", "pip", "install", *target, *chosen, "pip")


def environment(python, version, folder):
    """Return the interpreter of an environment with the wheel; it is kept from run to run."""
    place = debian.cache_folder().parent / "pythons" / version
    inside = place / "bin/python"
    if not inside.exists() or run(inside, "-m", "pip", "--version").returncode:
        shutil.rmtree(place, ignore_errors=True)
        succeed(python, "-m", "venv", "--without-pip", place)
        install_pip(version, place)
    built = wheel.wheel(folder)
    succeed(inside, "-m", "pip", "install", f"{built}[auth]", *PACKAGES)
    # A wheel of the same version is not installed again without --force-reinstall.
    succeed(inside, "-m", "pip", "install", "--no-deps", "--force-reinstall", built)
    if version == VERSIONS[0]:
        succeed(inside, "-m", "pip", "install", "--only-binary=:all:", *oldest_libraries())
    return inside


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", VERSIONS)
def test_unit_tests_pass(version, tmp_path):
    """What the package needs of Python, all supported versions have."""
    if version == "{}.{}".format(*sys.version_info):
        pytest.skip("this is the version that runs all tests")
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here that can make environments")
    inside = environment(python, version, tmp_path)
    left_out = ("PYTHONPATH", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    pytest_command = ("-m", "pytest", "-q", "-o", f"cache_dir={tmp_path}/cache", "-p", "no:xdist")
    pytest_command += ("--hypothesis-profile=few",)
    outermost = version in (VERSIONS[0], VERSIONS[-1])
    chosen = ("-m", "not e2e", UNIT, WEB) if outermost else ("-m", "not hypothesis", UNIT)
    with tempfile.TemporaryDirectory() as short:  # the path of a socket has 107 bytes at most
        command = (*pytest_command, f"--basetemp={short}/t", *chosen)
        succeed(inside, *command, cwd=wheel.ROOT, env=variables)
