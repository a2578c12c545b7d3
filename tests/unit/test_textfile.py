"""textfile.py: one page for node_exporter's textfile collector."""

import os
import re
import subprocess
import sys
import threading
import time

import pytest

from netfilter_exporter import cli, collectors, textfile
from netfilter_exporter.collection import Gatherer
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.system import System

FOUND = collectors.load()
PROM = "netfilter_exporter.prom"


def write(directory, *flags):
    """Run the command in this process, which goes on to need what a sandbox takes."""
    return cli.main([f"--textfile.directory={directory}", "--sandbox.disable", *flags])


def test_a_page_is_written_and_the_command_ends(tmp_path):
    """The file is readable for everybody, its timestamp is now, and nothing else is left behind."""
    before = time.time()
    assert write(tmp_path) == 0
    assert os.listdir(tmp_path) == [PROM]
    assert (tmp_path / PROM).stat().st_mode & 0o777 == 0o644
    page = (tmp_path / PROM).read_text()
    (timestamp,) = re.findall(r"^netfilter_textfile_timestamp_seconds (\S+)$", page, re.MULTILINE)
    assert before - 1 < float(timestamp) < time.time() + 1
    assert "\nnetfilter_exporter_build_info{" in page


def test_it_is_the_text_format_without_the_process(tmp_path):
    """node_exporter reads text 0.0.4; the process that wrote it is over, and reloads nothing."""
    write(tmp_path)
    page = (tmp_path / PROM).read_text()
    assert "# EOF" not in page
    assert "process_" not in page
    assert "config_last_reload" not in page
    assert re.search(r"^# TYPE netfilter_scrape_collector_success gauge$", page, re.MULTILINE)


def test_promtool_finds_nothing_to_say(tmp_path):
    """The page is one that Prometheus' own linter accepts."""
    write(tmp_path)
    with open(tmp_path / PROM, "rb") as page:
        done = subprocess.run(
            ["promtool", "check", "metrics"], stdin=page, capture_output=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_collectors_can_be_chosen(tmp_path):
    """The flags mean what they mean when serving."""
    write(tmp_path, "--collector.disable-defaults", "--collector.sysctl")
    page = (tmp_path / PROM).read_text()
    assert re.findall(r'collector_success{collector="(\w+)"}', page) == ["sysctl"]


def test_counters_are_raw(tmp_path):
    """Who sees a counter once cannot know of wraps: the sum over CPUs is that of the kernel."""
    (tmp_path / "net/stat").mkdir(parents=True)
    (tmp_path / "sys/net/netfilter").mkdir(parents=True)
    (tmp_path / "sys/net/netfilter/nf_conntrack_count").write_text("1\n")
    (tmp_path / "net/stat/nf_conntrack").write_text("entries drop\n1 fffffff0\n1 20\n")
    gatherer = Gatherer(Host(System(Paths(procfs=str(tmp_path)))))
    page = textfile.render(gatherer, [FOUND["conntrack"]], 1.5).decode()
    gatherer.close()
    (drops,) = re.findall(r"^netfilter_conntrack_drop_total (\S+)$", page, re.MULTILINE)
    assert float(drops) == 0xFFFFFFF0 + 0x20
    assert page.endswith("\nnetfilter_textfile_timestamp_seconds 1.5\n")


def test_a_folder_that_is_not_there_is_an_error(tmp_path, capsys):
    """One line that names it, and exit code 1."""
    assert write(tmp_path / "absent") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "level=error" in line
    assert f"{tmp_path}/absent: No such file or directory" in line


def test_a_bad_configuration_writes_nothing(tmp_path):
    """The old page stays, grows old, and that is what its timestamp tells."""
    config = tmp_path / "config.yml"
    config.write_text("nat: maybe\n")
    folder = tmp_path / "text"
    folder.mkdir()
    assert write(folder, f"--config.file={config}") == 1
    assert os.listdir(folder) == []


def test_a_write_that_fails_leaves_the_old_page(tmp_path, monkeypatch):
    """A full disk is told; the page before stays whole, and nothing half written remains."""
    textfile.replace(str(tmp_path / PROM), b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(textfile.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        textfile.replace(str(tmp_path / PROM), b"new")
    assert os.listdir(tmp_path) == [PROM]
    assert (tmp_path / PROM).read_bytes() == b"old"


SLOW = """
import os, sys, time
from netfilter_exporter import textfile
really = os.fsync
def slowly(descriptor):
    print("writing", flush=True)
    sys.stdin.read()
    really(descriptor)
textfile.os.fsync = slowly
textfile.replace(sys.argv[1], b"other")
"""


@pytest.fixture
def other_run(tmp_path):
    """Another run, in the middle of writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path / PROM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    with process:
        assert process.stdout.readline() == b"writing\n"
        assert len(os.listdir(tmp_path)) == 1
        yield process
        process.kill()


def test_a_run_that_was_killed_leaves_nothing_that_stays(tmp_path, other_run):
    """The next run removes what it was writing; nobody would ever."""
    other_run.kill()
    other_run.wait()
    (half,) = os.listdir(tmp_path)
    assert half.endswith(".tmp")
    (tmp_path / "foreign.tmp").write_text("")
    textfile.replace(str(tmp_path / PROM), b"new")
    assert sorted(os.listdir(tmp_path)) == ["foreign.tmp", PROM]
    assert (tmp_path / PROM).read_bytes() == b"new"


def test_a_run_that_is_writing_is_left_alone(tmp_path, other_run):
    """What another run is writing is no remainder: both end well, the last one's page stays."""
    textfile.replace(str(tmp_path / PROM), b"new")
    assert len(os.listdir(tmp_path)) == 2
    other_run.communicate(b"", timeout=30)
    assert other_run.returncode == 0
    assert os.listdir(tmp_path) == [PROM]
    assert (tmp_path / PROM).read_bytes() == b"other"


def test_a_reader_never_sees_a_part(tmp_path):
    """Whenever node_exporter reads, it finds one page, whole, and no other *.prom."""
    pages = [b"a" * 300_000, b"b" * 200_000]
    path = tmp_path / PROM
    textfile.replace(str(path), pages[0])
    done = threading.Event()
    seen = set()

    def read():
        while not done.is_set():
            seen.add(path.read_bytes() in pages)
            seen.add({name for name in os.listdir(tmp_path) if name.endswith(".prom")} == {PROM})

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        textfile.replace(str(path), pages[number % 2])
    done.set()
    reader.join()
    assert seen == {True}
