"""kernel/sysctl/names.py: forms, aliases and history of names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.kernel.sysctl.names import WATCHED, Kind, Operator, to_key, to_name

MODERN = frozenset(
    "net/netfilter/nf_conntrack_" + name
    for name in ("count", "max", "tcp_timeout_established", "icmpv6_timeout", "frag6_timeout")
)
#: 4.9 with the core loaded and nf_conntrack_ipv4 not.
CORE_ONLY = frozenset("net/netfilter/nf_conntrack_" + name for name in ("count", "max"))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.enp3s0/200.forwarding", "net/ipv4/conf/enp3s0.200/forwarding"),
        ("net/ipv4/conf/enp3s0.200/forwarding", "net/ipv4/conf/enp3s0.200/forwarding"),
        ("/net/ipv4//ip_forward", "net/ipv4/ip_forward"),
        ("net..ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("", ""),
    ],
)
def test_the_first_separator_decides(name: str, key: str):
    """Dots and slashes change places when the first of them is a dot, else they stay."""
    assert to_key(name) == key


@given(st.text(max_size=60))
def test_any_name_gives_a_plain_path(name: str):
    """No key begins with a slash or has an empty part, and its dotted form leads back to it."""
    key = to_key(name)
    assert "" not in key.split("/") or not key
    if "/" in key:
        assert to_key(to_name(key)) == key


@pytest.mark.parametrize(
    "key",
    [
        "net/ipv4/conf/../../../../etc/passwd/forwarding",
        "net/ipv4/conf/../forwarding",
        "net/ipv4/conf/eth\n0/forwarding",
        "net/ipv4/conf/eth\udcff/forwarding",
        "net/netfilter/nf_conntrack_count",
        "net/netfilter/nf_conntrack_max/x",
        "net/ipv4/conf/all/rp_filter",
        "kernel/pid_max",
        "",
    ],
)
def test_what_is_out_of_scope(key: str):
    """Nothing is read that is not ours, that cannot be written, or that leads elsewhere."""
    assert not sysctl_names.in_scope(key)


@pytest.mark.parametrize("key", WATCHED)
def test_watched_names_are_explained(key: str):
    """Each watched name has a sentence, and is the dotted form of its key."""
    assert WATCHED[key].explanation.endswith(".")
    assert to_name(key) == WATCHED[key].name


@pytest.mark.parametrize(
    ("key", "present", "unknown"),
    [
        ("nf_conntrack_ipv4_max", frozenset(), True),
        ("nf_conntrack_enable", frozenset(), True),
        ("nf_conntrack_helper", frozenset(), False),
        ("nf_conntrack_helper", MODERN, True),
        ("nf_conntrack_max", frozenset(), False),
        ("nf_conntrack_tcp_timeout_establishd", MODERN, True),
        ("nf_conntrack_tcp_timeout_established", CORE_ONLY, False),
        ("nf_conntrack_frag6_timeout", CORE_ONLY, False),
        ("nf_conntrack_dccp_loose", MODERN, False),
    ],
)
def test_unknown_is_only_what_will_not_come(key: str, present: frozenset[str], unknown: bool):
    """A key is unknown when it never existed, or when what would bring it is there."""
    assert sysctl_names.unknown("net/netfilter/" + key, present) is unknown


def test_frag6_proves_no_conntrack():
    """nf_conntrack_frag6_* comes from nf_defrag_ipv6: the core may still be missing."""
    present = frozenset({"net/netfilter/nf_conntrack_frag6_timeout"})
    assert not sysctl_names.unknown("net/netfilter/nf_conntrack_acct", present)


@pytest.mark.parametrize(
    ("key", "present", "unknown"),
    [
        ("net/ipv4/ip_conntrack_max", frozenset(), True),
        ("net/ipv4/netfilter/ip_conntrack_tcp_timeout_established", frozenset(), True),
        ("net/bridge/bridge-nf-call-iptables", frozenset(), False),
        ("net/ipv4/conf/gone0/forwarding", MODERN, False),
        ("net/ipv4/vs/conntrack", MODERN, False),
    ],
)
def test_unknown_outside_of_netfilter(key: str, present: frozenset[str], unknown: bool):
    """The compatibility names are gone for good; interfaces and other modules come and go."""
    assert sysctl_names.unknown(key, present) is unknown


@pytest.mark.parametrize(
    ("key", "present", "capability"),
    [
        ("net/netfilter/nf_conntrack_max", frozenset(), "conntrack"),
        ("net/netfilter/nf_conntrack_icmpv6_timeout", frozenset(), "conntrack"),
        ("net/netfilter/nf_conntrack_icmpv6_timeout", CORE_ONLY, None),
        ("net/netfilter/nf_conntrack_udp_timeout", CORE_ONLY, "conntrack"),
        ("net/netfilter/nf_conntrack_dccp_loose", MODERN, None),
        ("net/netfilter/nf_conntrack_frag6_timeout", MODERN, "defrag_ipv6"),
        ("net/bridge/bridge-nf-call-iptables", MODERN, "bridge_netfilter"),
        ("net/bridge/bridge-nf-filter-vlan-tagged", MODERN, "bridge_netfilter"),
        ("net/ipv4/vs/conntrack", MODERN, "ipvs"),
        ("net/ipv4/vs/expire_nodest_conn", MODERN, "ipvs"),
        ("net/ipv4/ip_forward", MODERN, None),
        ("net/ipv4/conf/gone0/forwarding", MODERN, None),
    ],
)
def test_whose_module_brings_a_key(key: str, present: frozenset[str], capability: str):
    """Only a key that NAT's own modules bring is missed when it is not there."""
    assert sysctl_names.capability(key, present) == capability


@pytest.mark.parametrize(
    ("operator", "actual", "wanted", "holds"),
    [
        (Operator.AT_LEAST, 0, 262144, True),
        (Operator.AT_LEAST, 262144, 0, False),
        (Operator.AT_MOST, 0, 262144, False),
        (Operator.AT_MOST, 5, 0, True),
        (Operator.EQUAL, 0, 0, True),
        (Operator.EQUAL, 1, 0, False),
    ],
)
def test_no_limit_is_the_largest(operator: Operator, actual: int, wanted: int, holds: bool):
    """nf_conntrack_max 0 is above every number."""
    assert operator.holds(sysctl_names.MAX, actual, wanted) is holds


def test_kinds_are_used():
    """The list tells the living from the dead and from what never lived."""
    assert {watched.kind for watched in WATCHED.values()} == set(Kind)
