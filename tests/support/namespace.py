"""Network namespaces of a test's own, and processes inside them."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import time
from typing import Any, Callable

_numbers = itertools.count(1)


class Failed(Exception):
    """A command or a function failed inside a namespace; the text is what it said."""


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Worker:
    """A Python process inside a namespace."""

    def __init__(self, namespace: str) -> None:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-m", "support.inside"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of an importable module there and return what it returns."""
        assert self._process.stdin
        assert self._process.stdout
        pickle.dump((function, arguments), self._process.stdin)
        self._process.stdin.flush()
        done, result = pickle.load(self._process.stdout)
        if not done:
            raise Failed(result)
        return result

    def close(self) -> None:
        with self._process as process:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()


class Namespace:
    """A network namespace with lo up."""

    def __init__(self) -> None:
        self.name = f"nfx{os.getpid()}-{next(_numbers)}"
        self._workers: list[Worker] = []
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a command inside and return what it prints."""
        return run("nsenter", f"--net=/run/netns/{self.name}", *command, stdin=stdin)

    def sh(self, script: str) -> str:
        """Run a shell script inside, up to the first command that fails."""
        return self.run("sh", "-euc", script)

    def worker(self) -> Worker:
        """Start a process inside."""
        worker = Worker(self.name)
        self._workers.append(worker)
        return worker

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the first process inside."""
        worker = self._workers[0] if self._workers else self.worker()
        return worker.call(function, *arguments)

    def end_workers(self) -> None:
        """End the processes that were started inside."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def close(self) -> None:
        """End what runs inside, and take the namespace away."""
        self.end_workers()
        run("ip", "netns", "del", self.name)


def datagrams(source: str, ports: range, target: str) -> str:
    """Return a Python script that sends one from each port to port 9; some may be dropped."""
    return f"""
import socket
for port in {ports!r}:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("{source}", port))
        try:
            sender.sendto(b"x", ("{target}", 9))
        except PermissionError:
            pass
"""


def wait_until_freed(host: Namespace, link: str, seconds: float) -> None:
    """Wait until a link whose other end was in a deleted namespace is gone: nothing keeps that."""
    end = time.monotonic() + seconds
    while link in host.run("ip", "-o", "link"):
        assert time.monotonic() < end, f"{link} is still there"
        time.sleep(0.01)
