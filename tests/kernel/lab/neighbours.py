"""In a guest with systemd: rules of NAT, and a neighbour who has many addresses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lab.service import reach, run

_PEER = "peer"
#: What this host has, and what the neighbour has, in one network.
ADDRESSES = {
    "private": ("10.99.0.1", "10.99.0.2"),
    "private6": ("fd00:99::1", "fd00:99::2"),
    "public": ("203.0.113.1", "203.0.113.9"),
    "public6": ("2001:db8:99::1", "2001:db8:99::2"),
    "allowed": ("203.0.113.1", "203.0.113.7"),  # in the drop-in of README
}
_RULES = """
table ip t {
  chain c { type nat hook postrouting priority 100; oifname "wan0" masquerade; }
}
"""


def build() -> None:
    """Make rules in both backends, and the neighbour."""
    for module in ("nf_conntrack_netlink", "veth"):
        run(f"modprobe {module}")
    load_rules()
    run("sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    run(f"ip netns add {_PEER}")
    run(f"ip link add wan0 type veth peer name eth0 netns {_PEER}")
    for own, theirs in ADDRESSES.values():
        suffix = "/64 dev {} nodad" if ":" in own else "/24 dev {}"
        run(f"ip address replace {own}{suffix.format('wan0')}")
        run(f"ip -n {_PEER} address add {theirs}{suffix.format('eth0')}")
    run("ip link set wan0 up")
    run(f"ip -n {_PEER} link set eth0 up")


def load_rules() -> None:
    """Have these rules, and no others."""
    run("nft -f -", f"flush ruleset\n{_RULES}")
    for tool in ("iptables-legacy", "ip6tables-legacy"):
        run(f"{tool} -w -t nat -F")
        run(f"{tool} -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE")


def reaching() -> dict[str, str]:
    """Return what the neighbour gets from each of its addresses; all ask at once."""
    with ThreadPoolExecutor(len(ADDRESSES)) as pool:
        asked = {
            name: pool.submit(reach, own, theirs, _PEER)
            for name, (own, theirs) in ADDRESSES.items()
        }
        return {name: future.result() for name, future in asked.items()}
