"""Healthy NAT hosts, how rulesets are put on them, and what is true of each."""

from __future__ import annotations

from typing import Any

NFT_MASQUERADE = """
table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    oifname "wan" masquerade
  }
}
"""

#: To the client's echo service, for flows of kind "in".
NFT_PUBLISHED = """
table ip nat {
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    iifname "wan" tcp dport 8080 dnat to 10.0.1.2:7
    iifname "wan" udp dport 8080 dnat to 10.0.1.2:7
  }
}
"""

#: To the server's, for flows of kind "local".
NFT_LOCAL = """
table ip nat {
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr 198.51.100.1 dnat to 203.0.113.2
  }
}
"""

LEGACY_MASQUERADE = "iptables-legacy -t nat -A POSTROUTING -o wan -j MASQUERADE"


def probed(router: Any) -> None:
    """Load what proves tracking, as modules-load.d does on a host that is watched."""
    if router.modules():
        router.run("modprobe nf_conntrack_netlink")


def nft_nat(router: Any) -> None:
    """An nftables gateway."""
    probed(router)
    router.nft(NFT_MASQUERADE)


def nft_published(router: Any) -> None:
    """An nftables gateway that publishes a port of the client."""
    nft_nat(router)
    router.nft(NFT_PUBLISHED)


def legacy_nat(router: Any) -> None:
    """A gateway with iptables-legacy."""
    probed(router)
    router.run(LEGACY_MASQUERADE)


def rules(backend: str, action: str, family: str = "ipv4") -> str:
    """Return the selector of nat_rules."""
    return f'nat_rules{{backend="{backend}",family="{family}",action="{action}"}}'


def working(backend: str, masquerades: int = 1, family: str = "ipv4") -> dict[str, Any]:
    """Return what holds on a host whose masquerade rules of one backend work."""
    return {
        "conntrack_present": 1,
        f'conntrack_tracking{{family="{family}"}}': 1,
        rules(backend, "masquerade", family): masquerades,
        f'nat_readable{{family="{family}"}}': 2,
        f'nat_forwarded_rules{{family="{family}"}}': masquerades,
        f'forwarding_enabled{{family="{family}"}}': 1,
        **QUIET,
    }


def unreached(backend: str, chain: str, hook: str, number: int) -> dict[str, Any]:
    """Return what holds where so many rules of one base chain are hidden, and no other."""
    return {
        'conntrack_tracking{family="ipv4"}': 1,
        f'nat_unreachable_rules{{backend="{backend}",chain="{chain}",hook="{hook}"}}': number,
        "nat_unreachable_rules": number,
        'forwarding_enabled{family="ipv4"}': 1,
    }


#: What stays away from a host without a fault.
QUIET = {
    "nat_dormant_rules": None,
    "nat_missing_interface": None,
    "interface_forwarding_disabled": None,
    "kernel_module_forced_unload": 0,
    "kernel_modules_locked": 0,
    'capability_blocked{capability="conntrack"}': 0,
    'capability{capability="conntrack"}': 1,
    'capability{capability="nat"}': 1,
}

#: What holds while connection tracking is not in this boot.
ABSENT = {
    "conntrack_present": 0,
    "conntrack_entries": None,
    'conntrack_tracking{family="ipv4"}': 0,
    'conntrack_tracking{family="ipv6"}': 0,
    'module_usable{module="nf_conntrack"}': 0,
    'nat_rules{family="ipv4"}': 0,
    'nat_readable{family="ipv4"}': 2,
}

#: What holds while it is there and nothing has need of it.
UNTRACKED = {
    "conntrack_present": 1,
    'conntrack_tracking{family="ipv4"}': 0,
    'nat_rules{family="ipv4"}': 0,
    'nat_readable{family="ipv4"}': 2,
}


def kube_proxy(services: int) -> str:
    """Return what kube-proxy writes for iptables-restore, with one endpoint a service."""
    chains = [":KUBE-SERVICES - [0:0]", ":KUBE-POSTROUTING - [0:0]", ":KUBE-MARK-MASQ - [0:0]"]
    rules = [
        "-A PREROUTING -j KUBE-SERVICES",
        "-A OUTPUT -j KUBE-SERVICES",
        "-A POSTROUTING -j KUBE-POSTROUTING",
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        "-A KUBE-POSTROUTING -s 10.0.1.0/24 -j MASQUERADE",
    ]
    for number in range(services):
        service, endpoint = f"KUBE-SVC-{number:013}", f"KUBE-SEP-{number:013}"
        address = f"10.96.{number // 250}.{number % 250 + 1}/32"
        chains += [f":{service} - [0:0]", f":{endpoint} - [0:0]"]
        rules += [
            f"-A KUBE-SERVICES -d {address} -p tcp -m tcp --dport 80 -j {service}",
            f"-A {service} -j {endpoint}",
            f"-A {endpoint} -s 10.0.1.2/32 -j KUBE-MARK-MASQ",
            f"-A {endpoint} -p tcp -m tcp -j DNAT --to-destination 10.0.1.2:8080",
        ]
    return "\n".join(["*nat", *chains, *rules, "COMMIT", ""])
