"""What the capability and group 0 open, and that the rest of the page is served without them."""

import pytest

from support import inside
from support.namespace import Failed
from support.page import Page

RULES = """
iptables-legacy -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE
nft 'table ip t { chain c { type nat hook postrouting priority 100; oifname "wan0" masquerade; }; }'
"""
NETLINK = ("nftables", "probe_ipv4", "probe_ipv6")
TABLES = ("legacy_ipv4", "legacy_ipv6")


def page_of(namespace, capabilities=(), groups=()):
    """Return the page that a process of another user serves, with these and nothing more."""
    worker = namespace.worker()
    worker.call(inside.drop_privileges, capabilities, groups)
    return Page(worker.call(inside.scrape))


def statuses(page, metric, label):
    """Return the status that holds of each collector or source."""
    return {s.labels[label]: s.labels["status"] for s in page.samples(metric) if s.value == 1}


@pytest.fixture
def gateway(namespace):
    """A namespace with rules in both backends, and no ip6tables: its table is not denied."""
    namespace.sh(RULES)
    return namespace


@pytest.mark.parametrize(
    ("capabilities", "groups", "denied"),
    [
        ((), (), {*NETLINK, *TABLES}),
        ((inside.CAP_NET_ADMIN,), (), set(TABLES)),
        ((), (0,), {*NETLINK, "legacy_ipv4"}),
        ((inside.CAP_NET_ADMIN,), (0,), set()),
    ],
    ids=["none", "NET_ADMIN", "group 0", "both"],
)
def test_what_is_missing_is_denied(gateway, capabilities, groups, denied):
    """Each source says for itself whether it was denied; no collector fails otherwise."""
    page = page_of(gateway, capabilities, groups)
    sources = statuses(page, "source_status", "source")
    assert {name for name, status in sources.items() if status == "denied"} == denied
    collectors = statuses(page, "scrape_collector_status", "collector")
    assert set(collectors.values()) <= {"ok", "no_data", "unsupported", "denied"}
    assert (collectors["nat"] == "denied") is bool(denied)
    assert (collectors["tracking"] == "denied") is ("probe_ipv4" in denied)


def test_one_capability_and_group_0_are_enough(gateway):
    """With both, the page of another user says all that root's says, but for its own duration."""
    ours = page_of(gateway, (inside.CAP_NET_ADMIN,), (0,))
    roots = Page(gateway.call(inside.scrape))
    assert told(ours) == told(roots)
    assert ours.total("conntrack_tracking", family="ipv4") == 1
    assert ours.total("nat_rules", action="masquerade") == 2


@pytest.mark.parametrize("name", ["ip_tables_names", "nf_conntrack", "netfilter/nfnetlink_queue"])
def test_group_0_reads_what_other_users_do_not(gateway, name):
    """The files of /proc/net that are closed to others are open to the group of root."""
    read = ["cat", f"/proc/net/{name}"]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--bounding-set=-all"]
    gateway.run(*user, "--groups=0", *read)
    with pytest.raises(Failed, match="Permission denied"):
        gateway.run(*user, "--clear-groups", *read)


def test_without_any_what_everybody_may_read_is_served(gateway):
    """And nothing is told of what could not be read: no 0 that would say that there is none."""
    poor, rich = page_of(gateway), Page(gateway.call(inside.scrape))
    assert told(poor, *OF_THE_LOOK) <= told(rich)
    for metric in "conntrack_entries", "forwarding_enabled", "ip_forwarded_total", "sysctl":
        assert poor.samples(metric) == rich.samples(metric)
    for metric in "nat_rules", "conntrack_tracking", "nat_chain_rules", "nftables_generation":
        assert poor.samples(metric) == []
    assert {sample.value for sample in poor.samples("nat_readable")} == {0}


def test_nothing_is_sent_that_could_not_be_looked_up(gateway):
    """Without CAP_NET_ADMIN no probe leaves an entry that it could not delete."""
    page_of(gateway)
    assert gateway.run("conntrack", "-L") == ""


#: What differs from one scrape to the next, and what says how the looking went.
VOLATILE = ("duration", "entries{", "ip_out", "ip_in", "references")
OF_THE_LOOK = ("scrape_collector", "source_status", "nat_readable", "exporter_")


def told(page, *but):
    """Return the lines of a page without those that contain any of `but`."""
    return {line for line in page.lines() if not any(part in line for part in (*VOLATILE, *but))}
