"""kernel/files.py: numbers whose files are kept open, and never serve what was."""

import gc
import os

import pytest

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import Malformed, NoData
from netfilter_exporter.kernel.files import CachedIntReader

SYSCTL = "/proc/sys/kernel/pid_max"


def opened():
    return len(os.listdir("/proc/self/fd"))


def test_a_sysctl_is_opened_once(monkeypatch):
    """The second reading opens nothing, and tells the same as reading it anew."""
    numbers = CachedIntReader()
    value = numbers.read(SYSCTL)
    monkeypatch.setattr(files.os, "open", None)
    assert numbers.read(SYSCTL) == value > 0


def test_descriptors_end_with_their_reader():
    """A reader that nobody needs any more leaves none open."""
    before = opened()
    numbers = CachedIntReader()
    numbers.read(SYSCTL)
    assert opened() == before + 1
    del numbers
    gc.collect()
    assert opened() == before


def test_a_file_of_a_disk_is_not_kept(tmp_path):
    """What is replaced by another file is read by its name: a container's or a test's fake root."""
    path = tmp_path / "number"
    path.write_text("1\n")
    numbers = CachedIntReader()
    assert numbers.read(str(path)) == 1
    path.unlink()
    with pytest.raises(NoData):
        numbers.read(str(path))
    path.write_text("2\n")
    assert numbers.read(str(path)) == 2
    path.write_text("two")
    before = opened()
    with pytest.raises(Malformed):
        numbers.read(str(path))
    assert opened() == before


def test_a_sysctl_that_went_is_looked_for_again(tmp_path, monkeypatch):
    """ENOENT on a kept descriptor, which an unregistered table gives, is not the last word."""
    path = tmp_path / "number"
    path.write_text("1\n")
    monkeypatch.setattr(files, "_on_procfs", lambda _: True)
    numbers = CachedIntReader()
    assert numbers.read(str(path)) == 1

    def gone(*_):
        raise FileNotFoundError(2, "gone")

    monkeypatch.setattr(files.os, "pread", gone)
    path.write_text("2\n")
    assert numbers.read(str(path)) == 2
    path.unlink()
    before = opened()
    with pytest.raises(NoData):
        numbers.read(str(path))
    assert opened() == before - 1
