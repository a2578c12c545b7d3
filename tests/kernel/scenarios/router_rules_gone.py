import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from lab.scenario import Difference, Scenario
from netfilter_exporter.facts.namespaces import make_sampler
from netfilter_exporter.kernel.netns.helper import Helper
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.selection import Selection
from scenarios._hosts import nft_nat, working

SOCKET = "/run/lab-netns-helper"
ROUTER, PAIR = "lab-qrouter", "lab-qr"
RULES = """
table ip nat {
  chain prerouting {
    type nat hook prerouting priority -100;
    ip daddr 203.0.113.10 dnat to 10.0.0.5
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    ip saddr 10.0.0.5 snat to 203.0.113.10
    oifname "qg-1" snat to 203.0.113.9
  }
}
"""
_DELETIONS = 3
#: Seconds for a deleted namespace to be freed, and how often it is looked for.
_FREED, _STEP = 1.0, 0.01
_PATIENCE = 60.0


def setup(router):
    nft_nat(router)
    helper = subprocess.Popen(
        [sys.executable, "-m", "netfilter_exporter.netns_helper", "--socket", SOCKET, "0"]
    )
    router.at_end(helper.wait)
    router.at_end(helper.kill)
    made(router)
    _wait(lambda: os.path.exists(SOCKET))


def made(router):
    """Make a router without a process, with an interface that goes when it does."""
    router.ip(f"netns add {ROUTER}", f"link add {PAIR} type veth peer name qg-1 netns {ROUTER}")
    router.at_end(lambda: router.run(f"ip netns del {ROUTER}", check=False))
    inside = f"ip netns exec {ROUTER}"
    router.run(f"{inside} nft -f -", RULES)
    router.run(f"{inside} sysctl -qw net.ipv4.ip_forward=1")


def fault(router):
    router.run(f"ip netns exec {ROUTER} nft flush ruleset")
    _wait(lambda: 'netns_nat_rules{family="ipv4",netns="lab-qrouter"} 0' in _page(router))


def _page(router):
    return router.exporter.scrape("namespaces")


def check(router):
    """Delete the router and make it again, under permanent looks: nothing keeps it."""
    sampler = make_sampler(System())
    sampler.select(Selection(), Helper(SOCKET))
    seen, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            sampler.look()
            seen.append(any(each.name == ROUTER for each in sampler.current().namespaces))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        return [problem for _ in range(_DELETIONS) for problem in _deleted(router, seen)]
    finally:
        stop.set()
        looking.join()


def _deleted(router, seen):
    """Return what is wrong with one deletion; make the router again."""
    seen.clear()
    _wait(lambda: any(seen))
    router.run(f"ip netns del {ROUTER}")
    began = time.monotonic()
    while Path(f"/sys/class/net/{PAIR}").exists() and time.monotonic() < began + _PATIENCE:
        time.sleep(_STEP)
    took = time.monotonic() - began
    made(router)
    return [f"a deleted namespace was freed after {took:.1f} s"] if took > _FREED else []


def _wait(found):
    end = time.monotonic() + _PATIENCE
    while not found():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(_STEP)


def inside(rules):
    """Return what is served of the router."""
    return {
        'netns_nat_rules{family="ipv4"}': rules,
        'netns_nat_rules{family="ipv6"}': 0,
        'netns_conntrack_tracking{family="ipv4"}': 1 if rules else None,
        'netns_forwarding_enabled{family="ipv4"}': 1,
        'source_status{source="netns_helper",status="ok"}': 1,
    }


SCENARIO = Scenario(
    about="A router without a process loses its rules; deleted under looks, it is gone at once.",
    setup=setup,
    fault=fault,
    works={"out": (True, True)},
    before={**working("nftables"), **inside(3)},
    after={**working("nftables"), **inside(0)},
    alerts=frozenset({"NetfilterNetnsNatRulesGone"}),
    check=check,
    flags=(
        "--collector.namespaces",
        f"--netns.include={ROUTER}",
        f"--netns.helper-socket={SOCKET}",
    ),
    differences=(
        Difference(
            because="before 5.14 no number tells a namespace from another one of its name.",
            applies=lambda version: version < (5, 14),
        ),
    ),
)
