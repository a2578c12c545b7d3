"""kernel/kept_files.py: left open, read again, and never served from what is gone."""

import os
import threading

import pytest

from netfilter_exporter.kernel import files, kept_files
from netfilter_exporter.kernel.errors import Malformed, NoData, ReadError

#: A pseudo-file of each host, whose content is another at each read.
UPTIME = "/proc/uptime"
#: One with a number.
NUMBER = "/proc/sys/kernel/threads-max"


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """The paths that were opened, while nothing is kept at first."""
    found = []
    really_open = files.open_file
    monkeypatch.setattr(kept_files, "_kept", {})
    monkeypatch.setattr(files, "open_file", lambda path: found.append(path) or really_open(path))
    yield found
    for kept in [*kept_files._kept.values()]:
        kept.close()


def test_a_pseudo_file_is_opened_once_and_read_again(opened):
    """Its content is that of the moment."""
    first = kept_files.read_bytes(UPTIME)
    while kept_files.read_bytes(UPTIME) == first:
        pass
    with open(NUMBER) as file:
        expected = int(file.read())
    assert [kept_files.read_int(NUMBER) for _ in range(3)] == [expected] * 3
    assert opened == [UPTIME, NUMBER]


def test_a_file_of_a_disk_is_not_kept(opened, tmp_path):
    """It may be replaced by another one of the same name, and the open one stays as it was."""
    file = tmp_path / "number"
    for number in (1, 2):
        other = tmp_path / "other"
        other.write_text(f"{number}\n")
        other.replace(file)
        assert kept_files.read_int(str(file)) == number
    assert opened == [str(file)] * 2


def test_what_can_no_longer_be_read_is_opened_again(opened):
    """As where a module was unloaded, and loaded again: the open file answers ENOENT for ever."""
    kept_files.read_int(NUMBER)
    (kept,) = kept_files._kept.values()
    os.close(kept._descriptor)
    kept._descriptor = -1
    assert kept_files.read_int(NUMBER) > 0
    assert opened == [NUMBER] * 2
    assert kept_files.read_int(NUMBER) > 0
    assert opened == [NUMBER] * 2


def test_errors_are_those_of_files(tmp_path):
    """What is missing, not a number, too large or a directory raises as ever, and is not kept."""
    (tmp_path / "text").write_text("text\n")
    wrong = (
        (kept_files.read_int, tmp_path / "none", NoData),
        (kept_files.read_int, tmp_path / "text", Malformed),
        (kept_files.read_bytes, tmp_path, ReadError),
        (kept_files.read_bytes, tmp_path / "a\0b", ReadError),
    )
    for read, path, error in wrong:
        with pytest.raises(error):
            read(str(path))
    with pytest.raises(ReadError, match="larger than 3 bytes"):
        kept_files.read_bytes(UPTIME, 3)
    assert set(kept_files._kept) == {UPTIME}


@pytest.mark.parametrize(("most", "descriptors"), [(1, 1024), (128, 7)])
def test_no_more_than_a_few_are_kept(monkeypatch, opened, most, descriptors):
    """Nor more than a quarter of what the process may open; what is beyond is read all the same."""
    monkeypatch.setattr(kept_files, "_MOST", most)
    monkeypatch.setattr(kept_files.resource, "getrlimit", lambda _: (descriptors, descriptors))
    for _ in range(2):
        kept_files.read_bytes(UPTIME)
        assert kept_files.read_int(NUMBER) > 0
    assert opened == [UPTIME, NUMBER, NUMBER]


def test_threads_share_a_file():
    """While one reads, another finds it unreadable and opens it again."""
    wrong = []

    def read():
        for _ in range(300):
            try:
                kept_files.read_int(NUMBER)
            except ReadError as error:  # noqa: PERF203 - each counts
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        for path, kept in [*kept_files._kept.items()]:
            kept_files._forget(path, kept)
    for thread in threads:
        thread.join()
    kept_files.read_int(NUMBER)  # they may have ended before the last was forgotten
    assert wrong == []
    kept_files.read_int(NUMBER)
    assert set(kept_files._kept) == {NUMBER}
