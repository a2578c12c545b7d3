"""A real Prometheus in a network namespace, and its HTTP API."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support import promstack
from support.namespace import Namespace, Worker

PORT = 9090
PATIENCE = 60


class Refused(Exception):
    """Prometheus answered a request with an error or a warning; the text is what it said."""


def fetch(url: str, body: bytes | None) -> bytes:
    """Return what an address answers; runs inside a namespace."""
    try:
        with urllib.request.urlopen(url, body, timeout=PATIENCE) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        content = error.read()
    return content


class Prometheus:
    """Asks a Prometheus that listens on loopback of a worker's namespace."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def ask(self, path: str, **parameters: Any) -> Any:
        """Return the data of an API call; raises `Refused` also for warnings and infos."""
        body = urllib.parse.urlencode(parameters, doseq=True).encode() if parameters else None
        url = f"http://127.0.0.1:{PORT}/api/v1/{path}"
        if body and path.startswith("label/"):  # takes no POST
            url, body = f"{url}?{body.decode()}", None
        answer = json.loads(self._worker.call(fetch, url, body))
        said = [answer.get(key) for key in ("error", "warnings", "infos") if answer.get(key)]
        if answer["status"] != "success" or said:
            raise Refused(f"{path} {parameters}: {said}")
        return answer["data"]

    def query(self, expression: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        data = self.ask("query", query=expression, **parameters)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        result: list[dict[str, Any]] = data["result"]
        return result

    def query_range(
        self, expression: str, start: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """Return the series of a query over a range of time."""
        data = self.ask("query_range", query=expression, start=start, end=end, step=step)
        result: list[dict[str, Any]] = data["result"]
        return result

    def cost(self, expression: str, time: float) -> int:
        """Return how many samples Prometheus looks at for an instant query."""
        data = self.ask("query", query=expression, time=time, stats="all")
        samples: int = data["stats"]["samples"]["totalQueryableSamples"]
        return samples

    def wait_for(self, expression: str, seconds: float = PATIENCE) -> list[dict[str, Any]]:
        """Wait until an expression has a series, and return what it has."""
        end = time.monotonic() + seconds
        while not (found := self.query(expression)):
            assert time.monotonic() < end, f"in {seconds} s nothing had {expression}"
            time.sleep(0.3)
        return found


@contextlib.contextmanager
def running(
    version: str, namespace: Namespace, folder: Path, config: Mapping[str, Any]
) -> Iterator[Prometheus]:
    """Run a version of `promstack.SUITES` with `config` until the end of the block.

    Raises `debian.UnavailableError` where there is no such package.
    """
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config))  # YAML, too
    command = (
        promstack.prometheus(version),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{PORT}",
        "--log.level=warn",
    )
    log = folder / "prometheus.log"
    process = promstack.start(command, log, namespace.name)
    try:
        server = Prometheus(namespace.worker())
        _wait_until_ready(server, process, log)
        yield server
    finally:
        promstack.stop(process)


def _wait_until_ready(server: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()
        try:
            server.ask("query", query="1")
        except Exception:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        else:
            return
