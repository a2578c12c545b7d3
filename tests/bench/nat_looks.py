"""What looks at hits and ports cost, in milliseconds of CPU; one JSON object.

    python tests/bench/nat_looks.py hits
    python tests/bench/nat_looks.py ports FLOWS USED RANGE

Run inside a namespace: the first has rules that count, the second may hold so many flows, of which
USED share one translated address, with so many ports, and one destination. A look at hits is part
of a scrape, and scrapes are apart, so that caches are as cold as between those of Prometheus. Looks
at ports, of some minutes, are taken one after the other.
"""

from __future__ import annotations

import json
import math
import socket
import statistics
import subprocess
import sys
import time

import flows

from netfilter_exporter.facts.flows import make_looker, make_port_watch, settings
from netfilter_exporter.facts.hits import hit_sampler
from netfilter_exporter.hits import sampler as hit_samplers
from support import inside

ADDRESS = socket.inet_aton("203.0.113.1")
#: Scrapes that look at hits, and seconds between them: at 15 s caches are no colder.
SCRAPES, APART = 30, 1.0
MINUTES = 30  # ports are counted every few minutes
SNAT = """
table ip nat {{
 chain post {{
  type nat hook postrouting priority 100; ip protocol udp snat to 203.0.113.1:1024-{};
 }}
}}
"""


def hits() -> dict[str, float]:
    """Scrape; return the cost of a look, its share of a scrape, and how many rules have hits."""
    interval, share = hit_samplers.INTERVAL, hit_samplers.CPU_SHARE
    hit_samplers.INTERVAL, hit_samplers.CPU_SHARE = 0.0, math.inf  # each scrape takes a look
    sampler = hit_sampler(inside.host())
    look = sampler.look
    costs: list[float] = []

    def timed() -> None:
        began = time.thread_time()
        look()
        costs.append(time.thread_time() - began)

    sampler.look = timed  # type: ignore[method-assign]
    sampler.start()
    for _ in range(SCRAPES + 1):
        time.sleep(APART)
        inside.scrape()
    known = (found.hits for found in sampler.current() if found.hits)
    rules = sum(number for each in known for number in each.counted.values())
    cost = statistics.median(costs[1:])
    scrapes = math.ceil(hit_samplers.due_after(max(interval, cost / share)) / interval)
    return {"look": cost * 1000, "CPU a scrape": cost / scrapes * 1000, "rules": rules}


def ports(count: int, used: int, size: int) -> dict[str, float]:
    """Make flows, and look at the ports; return the cost, and the part that is reported as used."""
    subprocess.run(["nft", SNAT.format(1023 + size)], check=True)
    flows.make_translated(used, ADDRESS)
    flows.make(1 << 16, (1 << 16) + count - used)
    inside.scrape(["nat"])
    host = inside.host()
    chosen = settings(host.config.flows)
    looker, watch = make_looker(host.system), make_port_watch(host)
    cost = 0.0
    for number in range(round(MINUTES * 60 / chosen.interval)):
        look = looker.look(chosen.sample_size)
        began = time.thread_time()
        found = watch.take(look, number * chosen.interval)
        cost += time.thread_time() - began
    ratio = found[0].used / found[0].size if found else 0.0
    return {"CPU a minute": cost / MINUTES * 1000, "ratio": ratio}


def main(argv: list[str]) -> int:
    measured = hits() if argv[1] == "hits" else ports(*map(int, argv[2:]))
    sys.stdout.write(json.dumps(measured) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
