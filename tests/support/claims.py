"""What the page of a recorded host must say, from what is known of the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netfilter_exporter.rules.families import Family
from support.host import FakeHost
from support.page import Page

_TAINT_FORCED_RMMOD = 8  # include/linux/panic.h: TAINT_FORCED_RMMOD is bit 3
_SHORT = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_TRACKED = {"yes": 1, "no": 0, "send-eperm": None}
_CONNTRACK = "net/netfilter/nf_conntrack"


class Claim(NamedTuple):
    """The samples of `metric` that have `labels` add up to `expected`; None: there is none."""

    metric: str
    labels: Mapping[str, str]
    expected: float | None
    where_chains_are: bool = False  #: without a base chain there is no sample to be 0


def false_claims(page: Page, host: FakeHost) -> Iterator[str]:
    """Yield, in words, what must be true of the page of `host` and is not."""
    for claim in claims(host):
        got = page.total(claim.metric, **claim.labels)
        if got is None and claim.where_chains_are:
            got = 0
        if got != claim.expected:
            yield f"{claim.metric}{claim.labels} is {got}, not {claim.expected}"


def claims(host: FakeHost) -> Iterator[Claim]:
    """Yield everything that must be true of the page of `host`."""
    for part in _rules, _interfaces, _tracking, _conntrack, _forwarding, _kernel:
        yield from part(host)


def _rules(host: FakeHost) -> Iterator[Claim]:
    for family, short in _SHORT.items():
        legacy = {"backend": "legacy", "family": family.value}
        yield Claim("nat_readable", legacy, 1)
        yield Claim("nat_rules", legacy, _count(host, f"nat_rules_legacy_{short}"))
        yield _unreachable(host, legacy, f"unreachable_nat_rules_legacy_{short}")
        yield Claim("notrack_rules", legacy, _count(host, f"notrack_rules_legacy_{short}"))

        nftables = {"backend": "nftables", "family": family.value}
        # The only rule of an inet table that was recorded says "meta nfproto ipv4".
        inet = _count(host, "nat_rules_nft_inet") if family is Family.IPV4 else 0
        # The recorded notrack rules of nft are all in a table of the family ip.
        notrack = _count(host, "notrack_rules_nft") if family is Family.IPV4 else 0
        yield Claim("nat_readable", nftables, 1)
        yield Claim("nat_rules", nftables, _count(host, f"nat_rules_nft_{short}") + inet)
        yield _unreachable(host, nftables, f"unreachable_nat_rules_nft_{short}")
        yield Claim("notrack_rules", nftables, notrack)


def _unreachable(host: FakeHost, labels: Mapping[str, str], fact: str) -> Claim:
    return Claim("nat_unreachable_rules", labels, _count(host, fact), where_chains_are=True)


def _interfaces(host: FakeHost) -> Iterator[Claim]:
    """One rule names an interface that the machine never had."""
    named = "wan1" in host.recording.commands and host.recording.state != "rules-flushed"
    yield Claim("nat_missing_interface", {"interface": "wan1"}, 1 if named else None)
    yield Claim("nat_missing_interface", {"interface": "wan0"}, None)


def _tracking(host: FakeHost) -> Iterator[Claim]:
    """Tell what the probe told, but for a full table: there a hook dump can tell, or a rule."""
    full = _full(host)
    for family, short in _SHORT.items():
        tracked = _TRACKED[host.facts[f"tracked_{family.value}"]]
        if full:
            hooks = host.recording.hooks(short)
            tracked = int(b"_conntrack_in" in hooks) if hooks else _implied(host, family)
        yield Claim("conntrack_tracking", {"family": family.value}, tracked)


def _implied(host: FakeHost, family: Family) -> int | None:
    """Return 1 where a rule holds the hooks of a family, of which this kernel has no module."""
    short = _SHORT[family]
    rules = sum(_count(host, f"nat_rules_{backend}_{short}") for backend in ("legacy", "nft"))
    loaded = host.path("proc/modules")
    halves = loaded.exists() and f"nf_conntrack_{family.value} " in loaded.read_text()
    return 1 if rules and not halves else None


def _conntrack(host: FakeHost) -> Iterator[Claim]:
    entries = _sysctl(host, f"{_CONNTRACK}_count")
    yield Claim("conntrack_present", {}, int(entries is not None))
    yield Claim("conntrack_entries", {}, entries)
    yield Claim("conntrack_entries_limit", {}, _sysctl(host, f"{_CONNTRACK}_max"))
    yield Claim("conntrack_buckets", {}, _sysctl(host, f"{_CONNTRACK}_buckets"))


def _forwarding(host: FakeHost) -> Iterator[Claim]:
    switches = {
        name: bool(_sysctl(host, f"net/ipv4/conf/{name}/forwarding"))
        for name in host.kernel.interfaces()
        if name != "lo"
    }
    yield Claim("forwarding_enabled", {"family": "ipv4"}, int(any(switches.values())))
    ipv6 = _sysctl(host, "net/ipv6/conf/all/forwarding")
    yield Claim("forwarding_enabled", {"family": "ipv6"}, ipv6)
    if _sysctl(host, "net/ipv4/ip_forward"):
        for name, on in switches.items():
            claimed = {"interface": name}
            yield Claim("interface_forwarding_disabled", claimed, None if on else 1)


def _kernel(host: FakeHost) -> Iterator[Claim]:
    tainted = _sysctl(host, "kernel/tainted") or 0
    yield Claim("kernel_module_forced_unload", {}, int(bool(tainted & _TAINT_FORCED_RMMOD)))
    yield Claim("kernel_info", {"release": host.facts["kernel"]}, 1)
    yield Claim("exporter_host_network_namespace", {}, int(host.recording.modular))
    loaded = host.path("proc/modules")
    for line in loaded.read_text().splitlines() if loaded.exists() else ():
        name = line.split()[0]
        if name in {"nf_conntrack", "nf_nat", "iptable_nat", "nf_conntrack_netlink"}:
            yield Claim("module_usable", {"module": name}, 1)
            yield Claim("module_info", {"module": name, "state": "loaded"}, 1)


def _count(host: FakeHost, fact: str) -> int:
    return int(host.facts.get(fact, 0))


def _full(host: FakeHost) -> bool:
    entries, limit = (_sysctl(host, f"{_CONNTRACK}_{name}") for name in ("count", "max"))
    return entries is not None and limit is not None and entries >= limit


def _sysctl(host: FakeHost, name: str) -> int | None:
    path = host.path(f"proc/sys/{name}")
    return int(path.read_text()) if path.exists() else None
