"""kernel/conf_files.py: which files of configuration directories count, and where they are."""

import os
import time
from pathlib import Path

import pytest

from netfilter_exporter.kernel import conf_files
from netfilter_exporter.kernel.conf_files import ConfFiles, Listing, chase
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.files import Paths

DIRECTORIES = ("/etc/x.d", "/run/x.d", "/lib/x.d")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a host's root with empty configuration directories."""
    for directory in DIRECTORIES:
        (tmp_path / directory[1:]).mkdir(parents=True)
    return tmp_path


def listing(root: Path) -> Listing:
    return ConfFiles(Paths(rootfs=str(root)), DIRECTORIES).read()


def names(root: Path) -> list[str]:
    return [file.name for file in listing(root).files]


def test_files_are_ordered_by_name_across_directories(root: Path):
    """The directory decides nothing but which of two namesakes counts."""
    for name in ("lib/x.d/10-b.conf", "etc/x.d/90-a.conf", "run/x.d/50-c.conf"):
        (root / name).write_text("")
    assert names(root) == ["/lib/x.d/10-b.conf", "/run/x.d/50-c.conf", "/etc/x.d/90-a.conf"]


def test_an_earlier_directory_hides_namesakes(root: Path):
    """/etc hides /run, and /run hides /lib."""
    for name in ("etc/x.d/1.conf", "run/x.d/1.conf", "run/x.d/2.conf", "lib/x.d/2.conf"):
        (root / name).write_text("")
    assert names(root) == ["/etc/x.d/1.conf", "/run/x.d/2.conf"]


def test_other_names_do_not_count(root: Path):
    """Only the suffix counts, and hidden files never."""
    for name in ("README", "a.conf.dpkg-old", ".hidden.conf", "b.conf~"):
        (root / "etc/x.d" / name).write_text("")
    assert names(root) == []


@pytest.mark.parametrize("target", ["/dev/null", "/nowhere/at/all"])
def test_a_link_to_nothing_hides_its_namesakes(root: Path, target: str):
    """A masked file is listed without a signature: nobody opens it."""
    (root / "etc/x.d/1.conf").symlink_to(target)
    (root / "lib/x.d/1.conf").write_text("x")
    (file,) = listing(root).files
    assert (file.name, file.signature) == ("/etc/x.d/1.conf", ())


def test_a_circle_of_links_is_passed_over(root: Path):
    """What leads nowhere for ever is no file, and hides none."""
    (root / "etc/x.d/1.conf").symlink_to("1.conf")
    (root / "lib/x.d/1.conf").write_text("x")
    assert names(root) == ["/lib/x.d/1.conf"]
    with pytest.raises(ReadError, match="too many levels"):
        chase(Paths(rootfs=str(root)), "/etc/x.d/1.conf")


@pytest.mark.parametrize(
    "target",
    ["/srv/x.conf", "../../srv/x.conf", "../../../../../../srv/x.conf", "/etc/../srv/./x.conf"],
)
def test_links_stay_below_the_root(root: Path, target: str):
    """An absolute target begins at the host's root, and no amount of .. leads out of it."""
    (root / "srv").mkdir()
    (root / "srv/x.conf").write_text("x")
    (root / "etc/x.d/1.conf").symlink_to(target)
    assert chase(Paths(rootfs=str(root)), "/etc/x.d/1.conf") == str(root / "srv/x.conf")


def test_a_linked_directory_is_followed(root: Path):
    """/lib is a link to usr/lib on most systems."""
    (root / "usr").mkdir()
    (root / "lib").rename(root / "usr/lib")
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/lib/x.d/1.conf").write_text("")
    (file,) = listing(root).files
    assert file.path == str(root / "usr/lib/x.d/1.conf")


def test_a_host_without_directories_has_no_files(tmp_path: Path):
    """A container that does not see the host's root lists nothing, without an error."""
    found = listing(tmp_path / "host")
    assert (found.files, found.errors) == ((), ())


def test_what_is_no_directory_is_passed_over(root: Path):
    """A file where a directory should be is no directory, and no error."""
    (root / "run/x.d").rmdir()
    (root / "run/x.d").write_text("")
    (root / "lib/x.d/1.conf").write_text("")
    assert names(root) == ["/lib/x.d/1.conf"]


def test_a_signature_follows_the_content(root: Path):
    """Another content is another signature, also behind a link."""
    (root / "real").write_text("one")
    (root / "etc/x.d/1.conf").symlink_to("/real")
    before = listing(root)
    assert listing(root) == before
    (root / "real").write_text("three")
    assert listing(root) != before


def test_a_directory_is_read_again_when_it_changed(root: Path, monkeypatch: pytest.MonkeyPatch):
    """What came, went or became a link is seen; where nothing happened, no directory is read."""
    monkeypatch.setattr(conf_files, "_PAST", 0)
    files = ConfFiles(Paths(rootfs=str(root)), DIRECTORIES)
    read = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (read.append(path), scan(path))[1])

    def found() -> list[str]:
        time.sleep(0.02)  # more than a tick of the clock that stamps directories
        read.clear()
        return [file.name for file in files.read().files]

    assert (found(), len(read)) == ([], 3)
    assert (found(), len(read)) == ([], 0)
    (root / "etc/x.d/1.conf").write_text("")
    assert (found(), len(read)) == (["/etc/x.d/1.conf"], 1)
    (root / "lib/x.d/1.conf").write_text("")
    (root / "etc/x.d/1.conf").rename(root / "etc/x.d/2.conf")
    assert (found(), len(read)) == (["/lib/x.d/1.conf", "/etc/x.d/2.conf"], 2)
    (root / "etc/x.d/2.conf").unlink()
    (root / "etc/x.d/2.conf").symlink_to("/nowhere")
    (file,) = [file for file in files.read().files if file.name == "/etc/x.d/2.conf"]
    assert file.signature == ()
    (root / "lib/x.d/1.conf").unlink()
    (root / "lib/x.d").rmdir()
    assert found() == ["/etc/x.d/2.conf"]


def test_a_directory_that_has_just_changed_is_not_relied_upon(root: Path):
    """Two changes within one tick of the clock leave the same time: both are seen."""
    files = ConfFiles(Paths(rootfs=str(root)), DIRECTORIES)
    directory = root / "etc/x.d"
    stamp = time.time_ns()
    for number in range(3):
        (directory / f"{number}.conf").write_text("")
        os.utime(directory, ns=(stamp, stamp))
        assert len(files.read().files) == number + 1
