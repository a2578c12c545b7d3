"""What a scrape costs where a real Prometheus makes it: the exporter's, and node_exporter's.

    tests/bench/run --scraped [--interval SECONDS] [--rounds N]

Both serve a namespace with a NAT gateway's rules, all collectors of each that are on by default.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import machine
import measures
import worlds

from support import debian, promstack

VERSION = "3"
SCRAPES = 10  #: in each round
TARGET = 0.5


@contextlib.contextmanager
def prometheus(name: str, folder: Path, interval: float) -> Iterator[None]:
    """Scrape both from inside a namespace until the end of the block."""
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for job, port in (("netfilter", measures.PORT), ("node", measures.NODE_PORT))
    ]
    every = {"scrape_interval": f"{interval:g}s", "scrape_timeout": f"{min(interval, 10):g}s"}
    file = folder / "prometheus.yml"
    file.write_text(json.dumps({"global": every, "scrape_configs": jobs}))
    command = (
        promstack.prometheus(VERSION),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:9090",
    )
    process = promstack.start(command, folder / "log", name)
    try:
        yield
    finally:
        promstack.stop(process)


def rounds(
    servers: Sequence[machine.Server], number: int, seconds: float
) -> Iterator[tuple[float, ...]]:
    """Yield the processor seconds of a scrape of each server, round by round."""
    for _ in range(number):
        before = [server.cpu() for server in servers]
        time.sleep(seconds)
        yield tuple((server.cpu() - b) / SCRAPES for server, b in zip(servers, before))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the cost of a scrape of each, and the ratio; return 1 where it is over the target."""
    parser = argparse.ArgumentParser(prog="tests/bench/run --scraped")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between scrapes")
    parser.add_argument("--rounds", type=int, default=12, help=f"of {SCRAPES} scrapes each")
    chosen = parser.parse_args(argv)
    try:
        program = debian.fetch("bookworm", ["prometheus-node-exporter"])
    except debian.UnavailableError as error:
        parser.error(str(error))
    node = program["prometheus-node-exporter"] / "usr/bin/prometheus-node-exporter"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        name = stack.enter_context(worlds.ruled("nft", 20))
        servers = (measures.exporter(name), measures.node_exporter(name, node))
        for server in servers:
            stack.callback(server.close)
            server.scrape()  # it serves
        stack.enter_context(prometheus(name, folder, chosen.interval))
        time.sleep(5 + 2 * chosen.interval)
        found = list(rounds(servers, chosen.rounds, SCRAPES * chosen.interval))
    ours, theirs = (statistics.median(cpu) * 1000 for cpu in zip(*found))
    ratio = statistics.median(a / b for a, b in found)
    sys.stdout.write(
        f"CPU of a scrape by Prometheus {VERSION} every {chosen.interval:g} s, median of"
        f" {chosen.rounds * SCRAPES}: {ours:.2f} ms, node_exporter (bookworm) {theirs:.2f} ms:"
        f" {ratio:.2f} (target: at most {TARGET})\n"
    )
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())
