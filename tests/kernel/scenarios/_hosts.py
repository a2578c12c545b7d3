"""Healthy NAT hosts, and what is true of each of them."""

from __future__ import annotations

from typing import Any

NFT_MASQUERADE = """
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" masquerade
  }
}
"""


def ipv4_nat(backend: str, masquerades: int = 1) -> dict[str, Any]:
    """Return what holds on a host with IPv4 masquerade rules of one backend that works."""
    return {
        "conntrack_present": 1,
        'conntrack_tracking{family="ipv4"}': 1,
        f'nat_rules{{backend="{backend}",family="ipv4",action="masquerade"}}': masquerades,
        'nat_readable{family="ipv4"}': 2,
        'nat_forwarded_rules{family="ipv4"}': masquerades,
        'forwarding_enabled{family="ipv4"}': 1,
    }
