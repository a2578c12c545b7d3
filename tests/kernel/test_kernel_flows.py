"""The flow table of the running kernel, from both of its sources."""

import collections
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netfilter_exporter.check import flow_listing
from netfilter_exporter.config import model as config
from netfilter_exporter.kernel.conntrack.flow import Translated
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules.families import Family
from support import flows
from support.namespace import datagrams, run
from support.router import CLIENT, SERVER, WAN, Router

ORIGINS = ("ctnetlink", "procfs")

#: conntrack -I: of each family, protocol, state and translation.
ENTRIES = (
    (
        "-s 10.0.0.2 -d 198.51.100.2 -p tcp --sport 1001 --dport 443 --state ESTABLISHED"
        " -u ASSURED,SEEN_REPLY --src-nat 203.0.113.1"
    ),
    (
        "-s 10.0.0.2 -d 198.51.100.2 -p tcp --sport 1002 --dport 443 --state SYN_SENT"
        " --src-nat 203.0.113.1"
    ),
    "-s 10.0.0.3 -d 198.51.100.2 -p tcp --sport 1003 --dport 443 --state SYN_SENT",
    (
        "-s 198.51.100.2 -d 203.0.113.1 -p tcp --sport 1004 --dport 80 --state TIME_WAIT"
        " -u ASSURED,SEEN_REPLY --dst-nat 10.0.0.9"
    ),
    (
        "-s 10.0.0.4 -d 203.0.113.1 -p tcp --sport 1005 --dport 80 --state CLOSE_WAIT"
        " -u ASSURED,SEEN_REPLY --dst-nat 10.0.0.9 --src-nat 10.0.0.1"
    ),
    "-s 10.0.0.2 -d 198.51.100.2 -p udp --sport 1006 --dport 53 --src-nat 203.0.113.1",
    "-s 10.0.0.2 -d 198.51.100.2 -p udp --sport 1007 --dport 53 -u SEEN_REPLY",
    "-s 10.0.0.2 -d 198.51.100.2 -p udp --sport 1007 --dport 53 -u SEEN_REPLY --zone 7",
    "-s 10.0.0.2 -d 198.51.100.2 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77",
    (
        "-s fd00::2 -d 2001:db8::2 -p tcp --sport 1009 --dport 443 --state ESTABLISHED"
        " -u ASSURED,SEEN_REPLY"
    ),
    "-s fd00::2 -d 2001:db8::2 -p udp --sport 1010 --dport 53 --src-nat 2001:db8::1",
    "-s fd00::2 -d 2001:db8::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 78",
)


FORWARDED = "table ip f { chain c { type filter hook forward priority 0; ct state new accept; }; }"
TRANSLATED = "table ip n { chain c { type nat hook postrouting priority 100; masquerade; }; }"


@pytest.fixture(name="filled")
def _filled(namespace):
    """A namespace with one flow of each kind."""
    for entry in ENTRIES:
        namespace.sh(f"conntrack -I -t 300 {entry}")
    return namespace


def listed(namespace):
    """Return what conntrack lists: (family, protocol, source, translated), counted."""
    found = collections.Counter()
    for family in Family:
        for line in namespace.run("conntrack", "-L", "-f", family.value).splitlines():
            protocol = {"icmpv6": "icmp"}.get(line.split()[0], line.split()[0])
            sources = re.findall(r"src=(\S+) dst=(\S+)(?: sport=(\d+) dport=(\d+))?", line)
            (source, destination, sport, dport), (answering, answered, aport, bport) = sources
            translated = {
                (False, False): Translated.NONE,
                (True, False): Translated.SOURCE,
                (False, True): Translated.DESTINATION,
                (True, True): Translated.BOTH,
            }[(answered, bport) != (source, sport), (answering, aport) != (destination, dport)]
            found[family, protocol, flows.packed(source), translated, "UNREPLIED" not in line] += 1
    return found


@pytest.mark.parametrize("origin", ORIGINS)
def test_both_sources_agree_with_conntrack(filled, origin):
    """Each entry is read as conntrack(8) lists it."""
    seen, census, complete = filled.call(flows.everything, origin)
    found = collections.Counter(
        (f.kind.family, f.kind.protocol, f.source, f.translated, f.kind.replied) for f in seen
    )
    assert found == listed(filled)
    assert sum(census.values()) == len(ENTRIES)
    assert complete


def test_both_sources_agree_with_each_other(filled):
    """The same flows in the same order: both walk the same buckets."""
    one, other = (filled.call(flows.everything, origin) for origin in ORIGINS)
    assert one == other


@pytest.mark.parametrize("origin", ORIGINS)
def test_translation_is_what_the_kernel_marked(filled, origin):
    """Comparing tuples finds the flows that the kernel's own bits name."""
    seen, _, _ = filled.call(flows.everything, origin)
    for option, words in (
        ("--src-nat", {Translated.SOURCE, Translated.BOTH}),
        ("--dst-nat", {Translated.DESTINATION, Translated.BOTH}),
    ):
        marked = sum(
            len(filled.run("conntrack", "-L", option, "-f", family.value).splitlines())
            for family in Family
        )
        assert sum(flow.translated in words for flow in seen) == marked > 0


# -- what looks leave behind -------------------------------------------------------------------

_CHURN = """
import itertools, subprocess, sys
sys.path[:0] = {folders!r}
import flows
for number in itertools.count():
    flows.make(number * 500, number * 500 + 500)
    if number % 40 == 39:  # so rarely that the table is seldom empty
        subprocess.run(["conntrack", "-F"], capture_output=True)
"""


def test_aborted_looks_pin_nothing(namespace):
    """A namespace whose table was read under churn can be deleted with everything in it."""
    tests = Path(__file__).parents[1]
    churn = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{namespace.name}", sys.executable, "-c",
         _CHURN.format(folders=[str(tests / "bench"), str(tests)])],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peer = f"nfx{os.getpid()}"
    try:
        run("ip", "link", "add", peer, "type", "veth", "peer", "name", "x", "netns", namespace.name)
        worker = namespace.worker()
        assert worker.call(flows.aborted, 10_000) > 100_000
        worker.close()
    finally:
        churn.kill()
        churn.wait()
    namespace.close()
    try:
        wait_until_gone(f"/sys/class/net/{peer}")
    finally:
        run("ip", "netns", "add", namespace.name)  # the fixture deletes it


def test_a_flow_that_is_older_than_the_rules_is_listed(namespaces):
    """It leaves untranslated as long as its client sends, while new ones are translated."""
    router = Router(namespaces)
    router.router.run("nft", FORWARDED)
    send = (sys.executable, "-c", datagrams(CLIENT, range(4000, 4001), SERVER))
    router.client.run(*send)
    router.router.run("nft", TRANSLATED)
    router.client.run(*send)
    assert router.source() == WAN
    text = router.router.call(list_flows)
    assert f"udp {CLIENT} {SERVER} 9  " in text.split("Neither translated nor answered")[1]
    router.router.run("conntrack", "-D", "-s", CLIENT)
    router.client.run(*send)
    assert "Neither translated" not in router.router.call(list_flows)


def list_flows():
    """Return what check --flows prints of this namespace."""
    return flow_listing.render(System(), config.Config())


def wait_until_gone(path, seconds=30):
    """Wait until the other end of a link into a namespace is gone: the kernel has freed that."""
    end = time.monotonic() + seconds
    while os.path.exists(path):
        assert time.monotonic() < end, f"{path} is still there"
        time.sleep(0.1)
