"""What is told of tracking is what the kernel does."""

import concurrent.futures
import contextlib
import socket
import struct

import pytest

from netfilter_exporter.kernel.netlink.attributes import pack
from netfilter_exporter.kernel.netlink.messages import (
    HEADER,
    NETLINK_NETFILTER,
    NLM_F_REQUEST,
    nfgenmsg,
    nfnetlink_map,
)
from support import inside
from support.page import Page
from support.router import CLIENT, WAN, Router

# include/uapi/linux/netfilter/nfnetlink_queue.h
NFNL_SUBSYS_QUEUE = 3 << 8
NFQNL_MSG_VERDICT, NFQNL_MSG_CONFIG = 1, 2
NFQA_PACKET_HDR, NFQA_VERDICT_HDR = 1, 2
NFQA_CFG_CMD, NFQA_CFG_PARAMS = 1, 2

RAW = "type filter hook output priority raw"
TRACKED = "iptables-legacy -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE"


def told(namespace):
    """Return what a scrape tells of tracking by family, and the status of each source."""
    page = Page(namespace.call(inside.scrape, ("tracking",)))
    samples = page.samples("conntrack_tracking")
    sources = {
        sample.labels["source"]: sample.labels["status"]
        for sample in page.samples("source_status")
        if sample.value
    }
    return {sample.labels["family"]: sample.value for sample in samples}, sources


def listed(namespace):
    """Return the entries that conntrack lists in both families."""
    families = ("ipv4", "ipv6")
    return [namespace.run("conntrack", "-L", "-f", family) for family in families]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("true", {"ipv4": 0, "ipv6": 0}),
        (TRACKED, {"ipv4": 1, "ipv6": 0}),
        (TRACKED.replace("ip", "ip6", 1), {"ipv4": 0, "ipv6": 1}),
        ("nft 'table inet t { chain c { type filter hook input priority 0; ct state new; }; }'",
         {"ipv4": 1, "ipv6": 1}),
        ("nft 'table ip t { chain c { type nat hook postrouting priority 100; }; }'",
         {"ipv4": 0, "ipv6": 0}),
    ],
)  # fmt: skip
def test_each_family_is_tracked_or_not(namespace, rule, expected):
    """A rule that needs connection tracking switches it on in its family; no rule, no tracking."""
    namespace.sh(rule)
    assert told(namespace)[0] == expected
    assert listed(namespace) == ["", ""]


def test_tracking_that_ends_is_seen_at_once(namespace):
    """When the last rule is flushed, the next scrape says so; and when it is back."""
    for _ in range(3):
        namespace.sh(TRACKED)
        assert told(namespace)[0]["ipv4"] == 1
        namespace.run("iptables-legacy", "-w", "-t", "nat", "-F")
        assert told(namespace)[0]["ipv4"] == 0


def test_many_probes_leave_no_entry(namespace):
    """Fifty probes are fifty proofs, and nothing stays in the table."""
    namespace.sh(TRACKED)
    assert namespace.call(inside.probe, 50) == [True] * 50
    assert listed(namespace) == ["", ""]
    assert namespace.run("conntrack", "-C").strip() == "0"


def test_a_probe_deletes_no_other_entry(namespace):
    """Flows of others stay as they are."""
    namespace.sh(TRACKED)
    namespace.call(inside.send, "127.0.0.1", 9)
    before = namespace.run("conntrack", "-L").count("dport=9")
    namespace.call(inside.probe, 50)
    assert (before, namespace.run("conntrack", "-L").count("dport=9")) == (1, 1)


RECEIVED = "type filter hook prerouting priority raw"


def vyos(answer):
    """Return how VyOS loads its conntrack table; chains accept what NAT or a firewall needs."""
    return (
        "nft 'table ip vyos_conntrack { chain FW_CONNTRACK { return; };"
        f" chain NAT_CONNTRACK {{ {answer}; }};"
        f" chain PREROUTING {{ {RECEIVED}; policy accept; counter jump FW_CONNTRACK;"
        " counter jump NAT_CONNTRACK; notrack; }; }'"
    )


@pytest.mark.parametrize(
    ("rule", "tracked"),
    [
        ("iptables-legacy -w -t raw -A PREROUTING -j NOTRACK", False),
        ("iptables-nft -w -t raw -A PREROUTING -j CT --notrack", False),
        (f"nft 'table inet r {{ chain c {{ {RECEIVED}; notrack; }}; }}'", False),
        (f"nft 'table ip r {{ chain c {{ {RECEIVED}; meta mark 7 accept; notrack; }}; }}'", None),
        ("iptables-legacy -w -t raw -A PREROUTING -p tcp -j NOTRACK", True),
        (f"nft 'table ip6 r {{ chain c {{ {RECEIVED}; notrack; }}; }}'", True),
        (f"nft 'table ip r {{ chain c {{ {RECEIVED}; return; notrack; }}; }}'", True),
        (vyos("return"), False),
        (vyos("accept"), True),
    ],
)
def test_what_is_received_and_never_tracked_is_not_translated(namespaces, rule, tracked):
    """Where a rule exempts all, tracking is told to be off; where it exempts some, it is not."""
    network = Router(namespaces)
    network.router.sh(f"{TRACKED}; {rule}")
    assert network.source() == (WAN if tracked else CLIENT)
    assert told(network.router)[0]["ipv4"] == (tracked is not False)


@pytest.mark.parametrize(
    "rule",
    [
        "iptables-legacy -w -t raw -A OUTPUT -o lo -j CT --notrack",
        "iptables-legacy -w -t raw -A OUTPUT -p udp -j CT --zone 7",
        "iptables-nft -w -t raw -A OUTPUT -o lo -j CT --notrack",
        f"nft 'table ip r {{ chain c {{ {RAW}; notrack; }}; }}'",
        f"nft 'table ip r {{ chain d {{ notrack; }}; chain c {{ {RAW}; oifname lo jump d; }}; }}'",
        "nft 'table ip r { chain c { type filter hook output priority -200; notrack; }; }'",
        f"nft 'table ip r {{ chain c {{ {RAW}; ct zone set 9; }}; }}'",
    ],
)
def test_what_hides_loopback_makes_a_miss_prove_nothing(namespace, rule):
    """A gateway that keeps loopback untracked, or in a zone, is healthy: no sample, and why."""
    namespace.sh(f"{TRACKED}; {rule}")
    tracking, sources = told(namespace)
    assert "ipv4" not in tracking
    assert sources["probe_ipv4"] == "inconclusive"


@pytest.mark.parametrize(
    "rule",
    [
        "iptables-legacy -w -t raw -A OUTPUT -o wan0 -j CT --notrack",
        "iptables-legacy -w -t raw -A OUTPUT ! -o lo -j CT --notrack",
        "iptables-legacy -w -t raw -A PREROUTING -i lan0 -j CT --notrack",
        f"nft 'table ip r {{ chain c {{ {RAW}; oifname != lo notrack; }}; }}'",
    ],
)
def test_what_does_not_touch_loopback_hides_nothing(namespace, rule):
    """With such rules, and no other, a miss is proof; and with tracking a hit is."""
    namespace.sh(rule)
    assert told(namespace)[0]["ipv4"] == 0
    namespace.sh(TRACKED)
    assert told(namespace)[0]["ipv4"] == 1


@pytest.mark.parametrize(
    ("rule", "proves"),
    [
        ("iptables-legacy -w -A OUTPUT -o lo -j DROP", False),
        ("iptables-legacy -w -A INPUT -i lo -j DROP", True),
        ("iptables-legacy -w -t nat -A POSTROUTING -j MASQUERADE", False),
        ("iptables-legacy -w -t nat -A OUTPUT -p udp -j REDIRECT --to-ports 9", True),
        (
            "nft 'table ip t { chain c { type filter hook prerouting priority -350; drop; }; }'",
            True,
        ),
    ],
)
def test_filters_do_not_lie(namespace, rule, proves):
    """What was sent and tracked is proof, delivered or not; otherwise the rules imply it."""
    namespace.sh(f"{TRACKED}; {rule}")
    tracking, sources = told(namespace)
    assert tracking["ipv4"] == 1
    assert sources["probe_ipv4"] == ("ok" if proves else "inconclusive")
    assert ("implied_ipv4" in sources) is not proves
    assert listed(namespace)[0] == ""


def test_a_host_without_a_loopback_address_proves_nothing(namespace):
    """Where there is nothing to send from, only the rules imply that packets are tracked."""
    namespace.sh(f"{TRACKED}; ip address flush dev lo")
    tracking, sources = told(namespace)
    assert tracking == {"ipv4": 1}
    assert sources["probe_ipv4"] == "inconclusive"
    assert sources["implied_ipv4"] == "ok"


def test_a_program_that_gives_verdicts_hides_no_entry(namespace):
    """The entry of what waits in a queue comes with the verdict, and is deleted all the same."""
    queue = "iptables-legacy -w -t mangle -A OUTPUT -p udp -j NFQUEUE --queue-num 0"
    assert told(namespace)[0]["ipv4"] == 0
    namespace.sh(f"{TRACKED}; {queue}")
    worker = namespace.worker()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        queued = pool.submit(worker.call, accept_queued)
        while " 0 " not in namespace.run("cat", "/proc/net/netfilter/nfnetlink_queue"):
            assert not queued.done()
        assert [told(namespace)[0]["ipv4"] for _ in range(3)] == [1, 1, 1]
        assert queued.result() >= 3
    assert listed(namespace) == ["", ""]


def accept_queued():
    """Accept what is sent to queue 0 until nothing comes for a second; return how much that was."""
    accepted = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:

        def say(type_, body):
            length = HEADER.size + 4 + len(body)
            header = HEADER.pack(length, NFNL_SUBSYS_QUEUE | type_, NLM_F_REQUEST, 1, 0)
            kernel.send(header + nfgenmsg(0) + body)

        bind_unspec, copy_packets = b"\1\0\0\0", struct.pack(">IB", 0xFFFF, 2)
        say(NFQNL_MSG_CONFIG, pack(NFQA_CFG_CMD, bind_unspec))
        say(NFQNL_MSG_CONFIG, pack(NFQA_CFG_PARAMS, copy_packets))
        kernel.settimeout(1)
        with contextlib.suppress(socket.timeout):
            while True:
                message = memoryview(kernel.recv(1 << 16))[HEADER.size :]
                packet = nfnetlink_map(message)[NFQA_PACKET_HDR]
                say(NFQNL_MSG_VERDICT, pack(NFQA_VERDICT_HDR, struct.pack(">I", 1) + packet[:4]))
                accepted += 1
    return accepted
