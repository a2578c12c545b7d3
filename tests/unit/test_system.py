"""kernel/system.py: the processes are those of the host."""

import os

import psutil
import pytest

from netfilter_exporter.kernel.system import System, read_processes

#: Behind the name: state, parent and so on, and the 20th is the start (proc_pid_stat(5)).
REST = " ".join(["S", "1", *["0"] * 17, "100", *["0"] * 30])


@pytest.fixture(autouse=True)
def _put_back(monkeypatch):
    monkeypatch.setattr(psutil, "PROCFS_PATH", "/proc")
    psutil._pmap.clear()  # what process_iter.cache_clear() does since psutil 6
    yield
    psutil._pmap.clear()


@pytest.fixture
def procfs(tmp_path):
    """A procfs with two processes."""
    (tmp_path / "stat").write_text("cpu 1 1 1 1\nbtime 1700000000\n")
    for pid, name in (1, "systemd"), (4_000_123, "dockerd"):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} ({name}) {REST}\n")
        (folder / "cmdline").write_bytes(name.encode() + b"\0")
    return tmp_path


def test_processes_are_those_of_the_procfs_that_is_named(procfs):
    """In a container, --path.procfs has the host's, /proc its own."""
    assert read_processes(str(procfs)) == {"systemd", "dockerd"}


def test_the_own_process_is_seen():
    """The running kernel's are read where nothing else is named."""
    with open(f"/proc/{os.getpid()}/comm") as file:
        assert file.read().strip() in {name[:15] for name in System().processes("/proc")}
