"""Other network namespaces of the running kernel: real packets in them, what keeps them alive."""

import os
import re
import subprocess
import threading
import time

import pytest

from support import inside
from support.namespace import datagrams, run, wait_until_freed

#: A source address of which only one port may be used: of two flows to one place, one fails.
ONE_PORT = """
ip addr add 10.9.0.1/24 dev lo
nft add table ip t
nft 'add chain ip t c { type nat hook postrouting priority 100; }'
nft add rule ip t c ip daddr 10.9.0.9 udp dport 9 snat to 10.9.0.1:7
ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev eth0
ip route add 10.9.0.9/32 dev eth0
"""
SEND = datagrams("10.9.0.1", range(5000, 5005), "10.9.0.9")


def joined(host, other, device="v0"):
    """Put a pair of interfaces between two namespaces."""
    host.run(
        "ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", other.name
    )
    host.run("ip", "link", "set", device, "up")
    other.run("ip", "link", "set", "eth0", "up")


def looked(host):
    """Return the namespaces that are seen from `host`, by name."""
    found = inside_of(host)
    assert found.error is None
    return {each.name: each for each in found.namespaces}


def inside_of(host):
    return host.call(inside.other_namespaces)


def counted(namespace, column):
    """Return what conntrack(8) says in a namespace."""
    return sum(map(int, re.findall(rf"\b{column}=(\d+)", namespace.run("conntrack", "-S"))))


def test_entries_and_failures_are_those_of_the_namespace(namespaces):
    """Each under the name that it has in /run/netns; what conntrack(8) says inside is served."""
    host, other = namespaces(), namespaces()
    joined(host, other)
    other.sh(ONE_PORT)
    other.call(os.getpid)
    other.run("python3", "-c", SEND)
    for port in range(3):
        tuple_ = f"-s 10.0.0.2 -d 198.51.100.2 -p udp --sport {1006 + port} --dport 53"
        other.sh(f"conntrack -I -t 300 {tuple_}")
    found = looked(host)
    assert host.name not in found
    assert found[other.name].entries == int(other.run("conntrack", "-C"))
    assert found[other.name].entries >= 4
    totals = found[other.name].totals
    assert totals["insert_failed"] >= 4
    assert totals["drop"] >= 4
    for column in totals:
        assert totals[column] == counted(other, column)


def test_a_namespace_without_a_number_goes_by_its_inode(namespaces):
    """Nothing connects it with us: the kernel has given it no number, and asking gives it none."""
    host, other = namespaces(), namespaces()
    pid = other.call(os.getpid)
    inode = run("stat", "-Lc", "%i", f"/proc/{pid}/net/stat").strip()
    before = host.run("ip", "netns", "list-id")
    assert inode in looked(host)
    assert other.name not in looked(host)
    assert host.run("ip", "netns", "list-id") == before


def test_only_namespaces_with_a_process_are_seen(namespaces):
    """And one whose last process has ended is gone from the next sample on."""
    host, other = namespaces(), namespaces()
    joined(host, other)
    assert other.name not in looked(host)
    other.call(os.getpid)
    assert other.name in looked(host)
    other.end_workers()
    assert other.name not in looked(host)


def test_looking_keeps_nothing_alive(namespaces):
    """A deleted namespace takes its interfaces along within a second, under permanent looks."""
    host = namespaces()
    name = f"{host.name}-gone"
    run("ip", "netns", "add", name)
    host.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "eth0", "netns", name)
    host.call(os.getpid)
    sleeper = subprocess.Popen(["nsenter", f"--net=/run/netns/{name}", "sleep", "300"])
    stop = threading.Event()
    seen = []

    def look():
        while not stop.is_set():
            seen.append(name in looked(host))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        end = time.monotonic() + 20
        while not any(seen):
            assert time.monotonic() < end
            time.sleep(0.01)
        run("ip", "netns", "del", name)
        sleeper.kill()
        sleeper.wait()
        wait_until_freed(host, "v0", seconds=1)
    finally:
        sleeper.kill()
        sleeper.wait()
        stop.set()
        looking.join()
    assert name not in looked(host)


def test_what_is_no_namespace_in_run_netns_does_no_harm(namespaces):
    """`ip netns add` that was interrupted leaves an empty file."""
    host, other = namespaces(), namespaces()
    joined(host, other)
    other.call(os.getpid)
    stray = f"/run/netns/{other.name}.stray"
    run("touch", stray)
    try:
        assert other.name in looked(host)
    finally:
        run("rm", stray)


@pytest.mark.parametrize("count", [100])
def test_churn(namespaces, count):
    """Processes that come and go in namespaces that come and go: each look ends, none fails."""
    host = namespaces()
    host.call(os.getpid)
    churn = subprocess.Popen(
        ["sh", "-c", f"for i in $(seq {count}); do unshare --net true; done"],
        stdout=subprocess.DEVNULL,
    )
    while churn.poll() is None:
        looked(host)
    assert churn.returncode == 0
