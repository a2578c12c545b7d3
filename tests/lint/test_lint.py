"""The linters, as tests: they run beside the others, and one summary tells of all."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import needs

ROOT = Path(__file__).parents[2]

#: The slowest first.
COMMANDS = {
    "mypy": ["mypy"],
    "mypy of tests": ["mypy", "-p", "support"],
    "shellcheck": ["shellcheck"],
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "codespell": ["codespell"],
}
_SKIPPED = {".git", "build", "dist"}
_MOST = 1 << 16  #: bytes; no script is larger


def files():
    """Yield the files of the project that may be scripts, whatever git knows of them."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [n for n in folders if n not in _SKIPPED and not n.startswith(".venv")]
        yield from (Path(folder, name) for name in names if not Path(folder, name).is_symlink())


def scripts():
    """Return the shell scripts: they begin with #! and end that line with sh."""
    small = (path for path in files() if path.stat().st_size < _MOST)
    return sorted(str(path.relative_to(ROOT)) for path in small if is_script(path))


def is_script(path):
    first = path.read_bytes().partition(b"\n")[0]
    return first.startswith(b"#!") and first.endswith(b"sh")


def lint(command, **environment):
    """Return what a linter says of the project; nothing is fine."""
    if not shutil.which(command[0]):
        needs.lacks(f"missing: {command[0]}", forced=needs.KERNEL)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode else ""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_linter_finds_nothing(name):
    """Every linter is content with every file that is its own."""
    command = COMMANDS[name] + (scripts() if name == "shellcheck" else [])
    environment = {"MYPYPATH": "tests"} if name == "mypy of tests" else {}
    said = lint(command, **environment)
    assert not said, said


def test_scripts_are_found():
    """Those that install and run everything are among them, and nothing is that is none."""
    found = scripts()
    assert {"tests/run", "tests/bench/run", ".ci/run"} <= set(found)
    assert not [name for name in found if name.endswith(".py")]


def test_a_fault_is_reported(tmp_path):
    """A linter that finds something makes its test fail."""
    (tmp_path / "bad.py").write_text("import os\n")
    assert "F401" in lint(["ruff", "check", "--isolated", str(tmp_path)])


def test_no_two_files_of_tests_have_one_name():
    """pytest would import the first for both, and refuse to collect any."""
    names = [path.name for path in files() if path.name.startswith("test_")]
    assert sorted(set(names)) == sorted(names)
