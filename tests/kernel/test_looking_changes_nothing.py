"""Looking at a host changes nothing of it."""

import pytest

from netfilter_exporter import collectors
from support import inside

FRESH = ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")


def traces(namespace):
    """Return what a look could leave behind."""
    return {
        "tables": [namespace.run("cat", path) for path in FRESH],
        "ruleset": namespace.run("nft", "list", "ruleset"),
        "entries": namespace.run("conntrack", "-C").strip(),
        "interfaces": namespace.run("ip", "-o", "link", "show"),
        "sysctls": namespace.sh(
            "sysctl -a 2>/dev/null | grep -E '^net.*(netfilter|forward)'"
            " | grep -v nf_conntrack_count"
        ),
    }


@pytest.mark.parametrize("names", [(), *((name,) for name in collectors.load())], ids=str)
def test_a_fresh_namespace_stays_fresh(namespace, names):
    """A hundred scrapes make no table, no rule, no entry and no descriptor that stays."""
    before = traces(namespace)
    assert (before["tables"], before["ruleset"]) == (["", ""], "")
    namespace.call(inside.scrape, names, 3)
    generation = namespace.call(inside.generation)  # which keeps a descriptor of its own
    descriptors = namespace.call(inside.descriptors)
    namespace.call(inside.scrape, names, 97)
    assert traces(namespace) == before
    assert namespace.call(inside.descriptors) == descriptors
    assert namespace.call(inside.generation) == generation


def test_a_gateway_stays_as_it_is(namespace):
    """Nor is anything changed, reset or left behind where there are rules to read."""
    namespace.sh(
        """
        iptables-legacy -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE
        ip6tables-legacy -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE
        nft 'table ip t { chain c { type nat hook postrouting priority 100;
            oifname "wan0" counter packets 7 bytes 9 masquerade; }; }'
        """
    )
    before = traces(namespace)
    saved = namespace.run("iptables-legacy-save", "-c", "-t", "nat")
    namespace.call(inside.scrape, (), 3)
    descriptors = namespace.call(inside.descriptors)
    namespace.call(inside.scrape, (), 97)
    assert traces(namespace) == before
    assert rules(namespace.run("iptables-legacy-save", "-c", "-t", "nat")) == rules(saved)
    assert namespace.call(inside.descriptors) == descriptors


def rules(saved):
    """Return the lines of rules: the counters of policies see the probe's datagrams pass."""
    return [line for line in saved.splitlines() if line.startswith("[")]
