"""The real process: how it starts, serves and ends."""

import contextlib
import http.client
import itertools
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest

from support.process import COMMAND, ENVIRONMENT, get


@contextlib.contextmanager
def exporter(*flags, command=None):
    """Run the command until the end of the block; yields the process and its ports."""
    command = command or [*COMMAND, *(flags or ("--web.listen-address=127.0.0.1:0",))]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        ports = []
        wanted = max(sum("listen-address" in flag for flag in flags), 1)
        while len(ports) < wanted:
            line = process.stderr.readline()
            assert line, "it ended"
            ports.extend(int(port) for port in re.findall(r"listening on \S+:([0-9]+)", line))
        yield process, ports
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number):
    """SIGTERM and SIGINT mean exit code 0, soon, peers or not, without a word of alarm."""
    with exporter() as (process, (port,)):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        client.request("GET", "/metrics")
        client.getresponse().read()
        process.send_signal(number)
        _, rest = process.communicate(timeout=5)
        client.close()
    assert process.returncode == 0
    assert [line.split("level=")[1] for line in rest.splitlines()] == ["info msg=stopping"]


def cpu_of(make):
    """Return the least processor time that the children of three runs of `make` took."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        make()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def test_the_first_scrape_comes_soon():
    """From start to the first page: 2.5 times what importing the libraries takes, at the most."""

    def scrape():
        with exporter() as (_, (port,)):
            assert get(port)[0] == 200

    command = [sys.executable, "-c", "import asyncio, prometheus_client, psutil, ssl, yaml"]
    baseline = cpu_of(lambda: subprocess.run(command, env=ENVIRONMENT, check=True))
    assert cpu_of(scrape) < 2.5 * baseline


def test_several_addresses():
    """--web.listen-address may be repeated, in IPv4 and IPv6, with a value after a blank or =."""
    flags = "--web.listen-address", "127.0.0.1:0", "--web.listen-address=[::1]:0"
    with exporter(*flags) as (_, (ipv4, ipv6)):
        assert get(ipv4, "/-/healthy")[0] == 200
        assert get(ipv6, "/-/healthy", host="::1")[0] == 200


def test_the_process_metrics_can_be_left_out():
    """--web.disable-exporter-metrics drops process_* and nothing else, but the start time."""
    flags = ["--web.listen-address=127.0.0.1:0", "--collector.disable-defaults"]
    pages = []
    for more in ([], ["--web.disable-exporter-metrics"]):
        with exporter(*flags, *more) as (_, (port,)):
            pages.append(set(re.findall(r"^[a-z_]+", get(port)[1], re.MULTILINE)))
    assert {name for name in pages[0] - pages[1] if not name.startswith("process_")} == set()
    assert "process_open_fds" in pages[0] - pages[1]
    assert {"netfilter_exporter_build_info", "process_start_time_seconds"} <= pages[1]


def test_a_port_in_use_is_a_clear_error():
    """One line that says what is wrong, and exit code 1."""
    with exporter() as (_, (port,)):
        flag = f"--web.listen-address=127.0.0.1:{port}"
        second = subprocess.run(
            [*COMMAND, flag],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert re.search(rf'level=error msg="cannot listen on 127.0.0.1:{port}: Address already', line)


def test_few_descriptors():
    """With more peers at once than descriptors, a scrape is answered, and the kernel is read."""
    flag = "--web.listen-address=127.0.0.1:0"
    command = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh", *COMMAND, flag]
    with contextlib.ExitStack() as stack:
        process, (port,) = stack.enter_context(exporter(command=command))
        process.send_signal(signal.SIGSTOP)  # so that all of them wait to be accepted
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        process.send_signal(signal.SIGCONT)
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        status, page = get(port)
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert status == 200
    assert re.findall(r'\{collector="(\w+)",status="error"\} 1', page) == []
    assert "Too many open files" not in log


def test_a_reload_that_comes_too_early_waits(tmp_path):
    """SIGHUP while the configuration is being read ends nothing, and is not lost."""
    module = tmp_path / "early.py"
    module.write_text(
        "import os, signal, sys\n"
        "from netfilter_exporter import cli\n"
        "load = cli._load\n"
        "cli._load = lambda chosen: os.kill(os.getpid(), signal.SIGHUP) or load(chosen)\n"
        "sys.exit(cli.main(['--web.listen-address=127.0.0.1:0']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(module)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = list(itertools.islice(process.stderr, 4))
    finally:
        process.kill()
        process.communicate()
    assert "listening on" in lines[2]
    assert "reloaded" in lines[3]


#: Runs before everything else in the interpreter, and kills when a module is about to be imported.
SIGNALLING = """
import os, signal, sys
def signal_at(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        os.kill(os.getpid(), signal.SIGHUP)
sys.addaudithook(signal_at)
"""


def signalled(tmp_path, module, *arguments):
    """Run the command with a SIGHUP when it is about to import `module`."""
    (tmp_path / "sitecustomize.py").write_text(SIGNALLING.format(module=module))
    path = f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env={**ENVIRONMENT, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("module", ["netfilter_exporter.cli", "asyncio", "yaml"])
def test_a_reload_before_the_imports_waits(tmp_path, module):
    """SIGHUP from the first import on ends nothing, and is not lost."""
    process = signalled(tmp_path, module, "--web.listen-address=127.0.0.1:0")
    try:
        lines = list(itertools.islice(process.stderr, 4))
    finally:
        process.kill()
        process.communicate()
    assert "listening on" in lines[2]
    assert "reloaded" in lines[3]


@pytest.mark.parametrize(
    "arguments", [["check"], ["assets", "--help"], ["--config.check"]], ids=lambda a: a[0]
)
def test_a_hangup_ends_what_does_not_serve(tmp_path, arguments):
    """A command of a terminal that is closed ends with it."""
    process = signalled(tmp_path, "netfilter_exporter.cli", *arguments)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGHUP


def test_a_storm_of_reloads_during_the_start(tmp_path):
    """From the first moment in which the interpreter runs the command, a hundred a second."""
    with running_at_once(tmp_path / "log") as process:
        wait_until_held(process.pid)
        for _ in range(200):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        end = time.monotonic() + 60
        while "reloaded" not in (tmp_path / "log").read_text():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)


@contextlib.contextmanager
def running_at_once(log):
    """Start the command, and do not wait until it serves."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, "--web.listen-address=127.0.0.1:0"], env=ENVIRONMENT, stderr=file
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until_held(pid):
    """Wait until a process holds SIGHUP, by proc_pid_status(5)."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            held = int(re.search(r"^SigBlk:\s*(\w+)$", file.read(), re.MULTILINE)[1], 16)
        if held >> (signal.SIGHUP - 1) & 1:
            return
    pytest.fail("it never holds SIGHUP")


def test_it_ends_while_a_collector_hangs(tmp_path):
    """A thread that does not come back does not keep the process."""
    module = tmp_path / "hanging.py"
    module.write_text(
        "import sys, time\n"
        "from netfilter_exporter import cli, collectors\n"
        "from netfilter_exporter.collectors.base import Collector, Metric, value\n"
        "row = Metric('hanging', 'A test.', source='', samples=value(lambda s: time.sleep(60)))\n"
        "collectors.load = lambda: {'hanging': Collector('hanging', 'hangs', (row,))}\n"
        "sys.exit(cli.main(['--web.listen-address=127.0.0.1:0']))\n"
    )
    command = [sys.executable, str(module)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r"listening on \S+:([0-9]+)", line):
                break
        assert 'status="timeout"' in get(int(found[1]))[1]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert time.monotonic() - began < 5
