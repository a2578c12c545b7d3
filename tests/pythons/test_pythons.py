"""The unit tests on each Python from 3.9 that is found here, the web server's on the outermost.

What a server needs of asyncio and ssl was there in the first version and is there in the last.
Tests of properties get few examples, and a property that holds on both holds in between, where the
Pythons are left to --every, but for the one that runs all tests. The newest also measures how much
of the exporter the tests go through, which costs little there (sys.monitoring) and a half more
before.
The oldest Python has the oldest libraries that setup.cfg admits, the others the newest. The newest
Python is Debian's where nothing else has it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from support import debian, debian_python, wheel

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
NEWEST = debian_python.VERSION
LEFT_OUT = {"3.10", "3.12", "3.13"}  #: without --every
UNIT, WEB = "tests/unit", "tests/web"
NO_PROPERTIES = ("-m", "not hypothesis", UNIT)
#: Neither root nor the network is needed for these.
COVERING = (UNIT, WEB, "tests/golden", "tests/check")
#: These drive processes of their own, which are not looked into, for long.
APART = tuple(f"tests/check/test_{name}.py" for name in ("alert_rules", "exit_codes"))
#: The last pip that runs there: an index in a folder does not say what each release requires.
PIP = {"3.9": "pip<26.1"}
#: What those tests need, and no more: not every Python has wheels of the rest.
PACKAGES = ("coverage", "hypothesis", "pytest", "pytest-timeout", "trustme")


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
    if version == NEWEST:
        with contextlib.suppress(debian.UnavailableError):
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
    succeed(sys.executable, "-m", "pip", "install", *target, *chosen, PIP.get(version, "pip"))


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


def run_tests(python, folder, *arguments, measure=()):
    """Run pytest without what this run of tests set, by `measure` if there is one, and report."""
    left_out = {"PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"}
    if python != sys.executable:
        left_out.add("PYTHONPATH")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    variables["COVERAGE_FILE"] = f"{folder}/coverage"
    pytest_command = (*measure, "-m", "pytest", "-q", "-p", "no:xdist", "--timeout=600")
    pytest_command += ("-o", f"cache_dir={folder}/cache", "--hypothesis-profile=few")
    with tempfile.TemporaryDirectory() as short:  # the path of a socket has 107 bytes at most
        command = (*pytest_command, f"--basetemp={short}/t", *arguments)
        succeed(python, *command, cwd=wheel.ROOT, env=variables)
    if measure:
        succeed(python, "-m", "coverage", "report", cwd=wheel.ROOT, env=variables)


def pytest_generate_tests(metafunc):
    if "version" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every")
        chosen = [version for version in VERSIONS if every or version not in LEFT_OUT]
        metafunc.parametrize("version", chosen)


@pytest.mark.timeout(900)
def test_unit_tests_pass(version, tmp_path):
    """What the package needs of Python, all supported versions have."""
    if version == "{}.{}".format(*sys.version_info):
        pytest.skip("this is the version that runs all tests")
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here that can make environments")
    inside = environment(python, version, tmp_path)
    oldest = ("-m", "not e2e", UNIT, WEB)
    run_tests(inside, tmp_path, *(oldest if version == VERSIONS[0] else NO_PROPERTIES))


@pytest.mark.timeout(2400)
def test_branches_are_covered(tmp_path):
    """The newest Python passes them, and they go through as many branches as setup.cfg wants.

    Where there is none, the newest that is supported measures it, or this Python, without tests of
    properties: they go through the same lines a hundred times. The report names what is left out.
    """
    found = {version: interpreter(version) for version in (NEWEST, VERSIONS[-1])}
    version = next((each for each in found if found[each]), "")
    chosen = ("-m", "not e2e" if version == NEWEST else "not e2e and not hypothesis")
    inside = environment(found[version], version, tmp_path) if version else sys.executable
    chosen += (*COVERING, *(f"--ignore={path}" for path in APART))
    run_tests(inside, tmp_path, *chosen, measure=("-m", "coverage", "run"))
