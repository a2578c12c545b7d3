"""Rulesets of the size and shape that kube-proxy writes, in its iptables and its nftables mode.

Two endpoints a service; names, comments and the order of matches are kube-proxy's own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

ENDPOINTS = 2
CLUSTER = "10.244.0.0/16"


def iptables(rules: int) -> str:
    """Return input of iptables-restore with about `rules` rules in its nat table."""
    services = list(range(_services(rules, base=8, each=8)))
    chains = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"]
    chains += [_hashed("KUBE-SVC-", number) for number in services]
    chains += [_hashed("KUBE-SEP-", *pair) for pair in _endpoints(services)]
    lines = ["*nat", *(f":{chain} - [0:0]" for chain in chains), *_IPTABLES_BASE]
    for number in services:
        lines += _iptables_service(number)
    return "\n".join((*lines, _IPTABLES_LAST, "COMMIT", ""))


def plain(rules: int) -> str:
    """Return input of iptables-restore with so many forwarded ports, one each, without comments."""
    ports = (
        f"-A PREROUTING -s {_address(198, number)}/32 -p tcp -m tcp --dport {number % 60000 + 1}"
        f" -j DNAT --to-destination {_target(number, 0)}:8080"
        for number in range(rules)
    )
    return "\n".join(("*nat", *ports, "COMMIT", ""))


def nftables(rules: int) -> str:
    """Return input of nft with about `rules` rules behind the NAT hooks of one table."""
    services = list(range(_services(rules, base=10, each=6)))
    reached = ",\n".join(f"{_address(172, n)} . tcp . 80 : goto {_nft_name(n)}" for n in services)
    lines = ["table ip kube-proxy {", *_NFT_BASE]
    for number in services:
        lines += _nft_service(number)
    lines += [
        "map service-ips { type ipv4_addr . inet_proto . inet_service : verdict",
        f"elements = {{ {reached} }} }}",
        "chain services {",
        "ip daddr . meta l4proto . th dport vmap @service-ips",
        "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
        "}",
        "}",
        "",
    ]
    return "\n".join(lines)


_IPTABLES_BASE = (
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
    '-A KUBE-POSTROUTING -m comment --comment "requiring SNAT" -j MASQUERADE --random-fully',
)
_IPTABLES_LAST = (
    '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the'
    ' last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS'
)
_NFT_BASE = (
    "set nodeport-ips { type ipv4_addr; elements = { 192.0.2.1 } }",
    "map service-nodeports { type inet_proto . inet_service : verdict; }",
    "chain mark-for-masquerade { meta mark set meta mark | 0x4000; }",
    "chain masquerading {",
    "meta mark & 0x4000 == 0 return",
    "meta mark set meta mark ^ 0x4000",
    "masquerade fully-random",
    "}",
    "chain services { }",
    "chain nat-prerouting { type nat hook prerouting priority -100; jump services; }",
    "chain nat-output { type nat hook output priority -100; jump services; }",
    "chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }",
)


def _iptables_service(number: int) -> Iterator[str]:
    name, service = _name(number), _hashed("KUBE-SVC-", number)
    address = f"{_address(172, number)}/32"
    match = f'-p tcp -m comment --comment "{name} cluster IP" -m tcp --dport 80'
    yield f"-A KUBE-SERVICES -d {address} {match} -j {service}"
    yield f"-A {service} ! -s {CLUSTER} -d {address} {match} -j KUBE-MARK-MASQ"
    for endpoint in range(ENDPOINTS):
        chain, target = _hashed("KUBE-SEP-", number, endpoint), _target(number, endpoint)
        left = ENDPOINTS - endpoint
        chance = f" -m statistic --mode random --probability {1 / left:.9f}" if left > 1 else ""
        yield f'-A {service} -m comment --comment "{name} -> {target}:8080"{chance} -j {chain}'
        comment = f'-m comment --comment "{name}"'
        yield f"-A {chain} -s {target}/32 {comment} -j KUBE-MARK-MASQ"
        yield f"-A {chain} -p tcp {comment} -m tcp -j DNAT --to-destination {target}:8080"


def _nft_service(number: int) -> Iterator[str]:
    chains = [_nft_name(number, endpoint) for endpoint in range(ENDPOINTS)]
    for endpoint, chain in enumerate(chains):
        target = _target(number, endpoint)
        yield f"chain {chain} {{"
        yield f"ip saddr {target} jump mark-for-masquerade"
        yield f"meta l4proto tcp dnat to {target}:8080"
        yield "}"
    choices = ", ".join(f"{place} : goto {chain}" for place, chain in enumerate(chains))
    yield f"chain {_nft_name(number)} {{"
    match = f"ip daddr {_address(172, number)} tcp dport 80 ip saddr != {CLUSTER}"
    yield f"{match} jump mark-for-masquerade"
    yield f"numgen random mod {len(chains)} vmap {{ {choices} }}"
    yield "}"


def _services(rules: int, *, base: int, each: int) -> int:
    return max(round((rules - base) / each), 1)


def _endpoints(services: list[int]) -> Iterator[tuple[int, int]]:
    return ((number, endpoint) for number in services for endpoint in range(ENDPOINTS))


def _name(number: int) -> str:
    return f"team-{number % 50}/service-{number}:http"


def _hashed(prefix: str, *what: int) -> str:
    """Return kube-proxy's name of a chain: a hash, so that it fits into an iptables chain."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    return prefix + base64.b32encode(digest).decode()[:16]


def _nft_name(number: int, endpoint: int | None = None) -> str:
    hashed = _hashed("", number, endpoint or 0)[:8]
    name = f"{hashed}-team-{number % 50}/service-{number}/tcp/http"
    if endpoint is None:
        return f"service-{name}"
    return f"endpoint-{name}__{_target(number, endpoint)}/8080"


def _address(first: int, number: int) -> str:
    return f"{first}.{20 + number // 65536}.{number // 256 % 256}.{number % 256}"


def _target(number: int, endpoint: int) -> str:
    return f"10.244.{number // 120 % 256}.{number % 120 * ENDPOINTS + endpoint + 1}"
