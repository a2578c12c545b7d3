"""collectors/tracking.py: proofs, and the gates before them, on recorded hosts."""

import errno
import fcntl
import resource
import socket

import pytest

from netfilter_exporter.collection import Gatherer
from netfilter_exporter.collectors.tracking import COLLECTOR
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.conntrack.loopback import LoopbackPair
from netfilter_exporter.kernel.errors import Inconclusive, ReadError, Status
from netfilter_exporter.rules.families import Family
from support import wire

NETFILTER = "proc/sys/net/netfilter"
COUNT = f"{NETFILTER}/nf_conntrack_count"
LIMIT = f"{NETFILTER}/nf_conntrack_max"


class Tracking:
    """What one scrape of the collector made of a host."""

    def __init__(self, host):
        self.run = Gatherer(Host(host.system)).gather([COLLECTOR])
        self.outcome = self.run.outcomes["tracking"]
        rows = {metric.name: dict(samples) for metric, samples in self.outcome.families}
        self.told = {labels[0]: value for labels, value in rows["conntrack_tracking"].items()}
        self.sources = {n: s.value for n, s in self.run.snapshot.source_status().items()}


@pytest.mark.parametrize("kernel", ["4.9", "4.14", "5.10", "6.1", "6.18"])
def test_a_datagram_proves_it_where_hooks_cannot_be_listed(fake_host, kernel):
    """Old kernels, and builds without nfnetlink_hook, are probed, and the entry is deleted."""
    host = fake_host(f"{kernel}/nat-legacy")
    tracking = Tracking(host)
    assert tracking.told["ipv4"] == 1
    assert host.kernel.sent == list(Family)
    assert Family.IPV4 in host.kernel.deleted
    assert not host.kernel.probe_entries
    assert tracking.outcome.success


def test_where_hooks_can_be_listed_nothing_is_sent(fake_host):
    """The list of hooks is proof enough, of both answers."""
    host = fake_host("7.2/nat-legacy")
    assert Tracking(host).told == {"ipv4": 1, "ipv6": 0}
    assert host.kernel.sent == []


@pytest.mark.parametrize(
    ("entries", "limit", "sends"),
    [(94, 100, True), (95, 100, False), (100, 100, False), (200, 100, False), (9, 0, True)],
)
def test_nothing_is_sent_into_a_table_that_is_nearly_full(fake_host, entries, limit, sends):
    """A new entry could push out a real flow; a limit of 0 is none."""
    host = fake_host("6.1/nat-legacy")
    host.path(COUNT).write_text(f"{entries}\n")
    host.path(LIMIT).write_text(f"{limit}\n")
    tracking = Tracking(host)
    assert bool(host.kernel.sent) is sends
    assert tracking.told["ipv4"] == 1
    assert tracking.sources["probe_ipv4"] == ("ok" if sends else "inconclusive")
    assert tracking.sources.get("implied_ipv4") == (None if sends else "ok")
    assert tracking.outcome.success


def test_without_the_capability_nothing_is_sent(fake_host):
    """The collector says that it was denied, and serves no sample."""
    host = fake_host("6.1/nat-legacy")
    host.kernel.denied = True
    tracking = Tracking(host)
    assert (host.kernel.sent, tracking.told) == ([], {})
    assert tracking.outcome.status is Status.DENIED
    assert tracking.sources["probe_ipv4"] == "denied"


def test_nothing_is_sent_where_conntrack_is_not_there(fake_host):
    """A host without nf_conntrack is proven not to track, by a file that is not there."""
    host = fake_host("6.1/idle")
    assert Tracking(host).told == {"ipv4": 0, "ipv6": 0}
    assert host.kernel.opened == []


def test_nothing_is_sent_where_asking_would_load_a_module(fake_host):
    """Where ctnetlink is not loaded nothing can be proven, and nothing is loaded to prove it."""
    host = without_ctnetlink(fake_host("4.14/nat-legacy"))
    tracking = Tracking(host)
    assert (host.kernel.sent, host.kernel.harm, tracking.told) == ([], [], {})
    assert tracking.sources["probe_ipv4"] == "no_data"


def without_ctnetlink(host):
    """Take nf_conntrack_netlink out of the loaded modules."""
    modules = host.path("proc/modules")
    lines = modules.read_text().splitlines(keepends=True)
    modules.write_text("".join(line for line in lines if "conntrack_netlink " not in line))
    return host


def test_a_rule_implies_tracking(fake_host):
    """Without hook list and probe, a translating rule does: in its family, never the opposite."""
    host = without_ctnetlink(fake_host("6.1/nat-legacy"))
    tracking = Tracking(host)
    assert (host.kernel.sent, host.kernel.harm, tracking.told) == ([], [], {"ipv4": 1})
    assert (tracking.sources["implied_ipv4"], tracking.sources["implied_ipv6"]) == ("ok", "no_data")


def test_a_rule_never_clears_a_proof(fake_host):
    """A miss of the probe stays a 0, whatever rules are listed."""
    host = fake_host("6.1/nat-legacy")
    host.kernel.track = lambda _: None
    tracking = Tracking(host)
    assert tracking.told["ipv4"] == 0
    assert "implied_ipv4" not in tracking.sources


@pytest.mark.parametrize(
    ("state", "change", "status"),
    [
        ("4.9/nat-legacy", {}, "unsupported"),
        ("4.14/nat-legacy", {}, "unsupported"),
        ("5.10/rules-flushed", {}, "no_data"),
        ("5.10/notrack", {}, "inconclusive"),
        ("5.10/nat-legacy", {"proc/sys/kernel/tainted": "8\n"}, "inconclusive"),
        ("5.10/nat-legacy", {f"{NETFILTER}/nf_conntrack_enable": "0\n"}, "inconclusive"),
    ],
)
def test_where_rules_imply_nothing(fake_host, state, change, status):
    """An IPv4 half as a module, no rule, notrack, a forced removal, a switch: no sample."""
    host = without_ctnetlink(fake_host(state))
    for path, content in change.items():
        host.path(path).write_text(content)
    tracking = Tracking(host)
    assert "ipv4" not in tracking.told
    assert tracking.sources["implied_ipv4"] == status


def test_unread_rules_imply_nothing(fake_host):
    """A rule that exempts packets may be among those that could not be read."""
    host = without_ctnetlink(fake_host("6.1/nat-legacy"))
    host.kernel.getsockopt = refuse
    assert Tracking(host).sources["implied_ipv4"] == "inconclusive"


@pytest.mark.parametrize(
    ("state", "told", "status"),
    [
        ("notrack", {"ipv6": 0}, "inconclusive"),  # one rule is for a port in OUTPUT
        ("notrack-nft", {"ipv4": 0, "ipv6": 0}, "ok"),  # all are for what comes in from elsewhere
    ],
)
def test_a_miss_proves_nothing_where_rules_may_cause_it(fake_host, state, told, status):
    """A notrack rule that may touch loopback takes the sample away; another one does not."""
    host = fake_host(f"6.18/{state}")
    host.kernel.track = lambda _: None
    tracking = Tracking(host)
    assert host.kernel.sent == list(Family)
    assert (tracking.told, tracking.sources["probe_ipv4"]) == (told, status)
    assert tracking.outcome.success


def test_a_miss_with_unread_rules_proves_nothing(fake_host):
    """Rules that could not be read may do anything."""
    host = fake_host("6.1/nat-legacy")
    host.kernel.track = lambda _: None
    host.kernel.getsockopt = refuse
    tracking = Tracking(host)
    assert host.kernel.sent == list(Family)
    assert tracking.told == {"ipv6": 0}  # ip6tables has no table, and so no rule
    assert tracking.sources["probe_ipv4"] == "inconclusive"


def refuse(*_):
    raise ReadError("getsockopt 64: Input/output error")


def test_a_hit_with_unread_rules_is_proof(fake_host):
    """An entry is proof whatever the rules say."""
    host = fake_host("6.1/nat-legacy")
    host.kernel.getsockopt = refuse
    assert Tracking(host).told["ipv4"] == 1


def test_a_refused_datagram_proves_nothing(fake_host):
    """EPERM on sending is a full table, or a filter: then the rules decide, where there are any."""
    host = fake_host("6.1/nat-legacy")
    host.kernel.probe = lambda _: host.recording.exchanges["ctnetlink-get-probe-ip"]._replace(
        send_refused=True
    )
    tracking = Tracking(host)
    assert tracking.told == {"ipv4": 1}
    assert tracking.sources["implied_ipv4"] == "ok"
    assert tracking.sources["probe_ipv4"] == tracking.sources["probe_ipv6"] == "inconclusive"
    assert tracking.outcome.success


def test_where_it_is_unknown_whether_hooks_can_be_listed_a_datagram_proves_it(fake_host):
    """In a container without /lib/modules, asking for hooks might load a module."""
    host = fake_host("6.1/nat-legacy")
    hide_modules(host)
    tracking = Tracking(host)
    assert host.kernel.harm == []
    assert tracking.sources["hooks"] == "inconclusive"
    assert tracking.told["ipv4"] == 1


def hide_modules(host):
    """Take away what tells which modules there are, but for those that are loaded."""
    for folder in ("lib", "boot"):
        if host.path(folder).exists():
            host.path(folder).rename(host.path(f"no-{folder}"))
    for config in host.path("proc").glob("config*"):
        config.unlink()


def test_a_kernel_that_refuses_the_hook_dump_is_probed(fake_host):
    """EINVAL is no list without hooks."""
    host = fake_host("7.2/nat-legacy")
    real = host.kernel._answer_netfilter

    def answer(type_, flags, payload):
        refused = type_ == 12 << 8
        return [wire.error(errno.EINVAL)] if refused else real(type_, flags, payload)

    host.kernel._answer_netfilter = answer
    tracking = Tracking(host)
    assert tracking.sources["hooks"] == "unsupported"
    assert tracking.told == {"ipv4": 1, "ipv6": 0}
    assert host.kernel.sent == list(Family)


def test_sockets_are_closed_whatever_happens(fake_host):
    """No probe leaves its sockets behind."""
    host = fake_host("6.1/nat-legacy")
    made = []
    real = host.kernel.loopback
    object.__setattr__(host.system, "loopback", lambda f: made.append(real(f)) or made[-1])
    Tracking(host)
    host.kernel.denied = True
    Tracking(host)
    assert len(made) == 4
    assert all(pair.closed for pair in made)


# -- the real sockets ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", list(Family))
def test_a_datagram_arrives_on_loopback(family):
    """The pair sends to itself alone, and says whether it arrived."""
    try:
        pair = LoopbackPair(family)
    except Inconclusive:
        pytest.skip(f"no loopback address of {family.value} here")
    try:
        assert len(set(pair.ports)) == 2
        assert not pair.delivered()
        pair.send()
        assert pair.delivered()
    finally:
        pair.close()


def test_a_datagram_arrives_beyond_the_thousandth_descriptor():
    """select(2) ends at 1023; a server with many peers does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard <= 1025:
        pytest.skip("no more than 1024 descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2048), hard))
    pair = LoopbackPair(Family.IPV4)
    try:
        low = pair._sockets[1]
        pair._sockets[1] = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1024))
        low.close()
        pair.send()
        assert pair.delivered()
    finally:
        pair.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
