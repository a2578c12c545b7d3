import socket
import struct

from lab.peer import namespace
from lab.router import ROUTER_LAN
from lab.scenario import Scenario
from stage.program import Program

#: Chains named as miniupnpd looks for them.
GATEWAY = """
flush ruleset

table inet filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" accept
    jump miniupnpd
  }
  chain miniupnpd { }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    jump prerouting_miniupnpd
  }
  chain prerouting_miniupnpd { }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    jump postrouting_miniupnpd
    ip saddr 10.0.1.0/24 oifname "wan" masquerade
  }
  chain postrouting_miniupnpd { }
}
"""
CONFIG = """
ext_ifname=wan
ext_ip=198.41.0.4
listening_ip=lan
enable_pcp_pmp=yes
enable_upnp=yes
secure_mode=yes
uuid=5eed5eed-5eed-5eed-5eed-5eed5eed5eed
allow 1024-65535 10.0.1.0/24 7 .*
deny 0-65535 0.0.0.0/0 0-65535
"""
UDP, TCP = 1, 2  # operations of NAT-PMP, RFC 6886
PORT = 5351
LIFETIME = 3600


def requested(operation):
    """Have the client ask for a port, as consoles and torrents do; tell whether it was mapped."""
    with namespace("stage-client"):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        opened.settimeout(1)
        opened.connect((ROUTER_LAN, PORT))
        opened.send(struct.pack(">BBHHHI", 0, operation, 0, 7, 8080, LIFETIME))
        try:
            answer = opened.recv(64)
        except OSError:
            return False
    return struct.unpack_from(">BBH", answer)[2] == 0


def setup(host):
    host.file("etc/nftables.conf", GATEWAY)
    host.program("nft -f /etc/nftables.conf")
    host.file("etc/miniupnpd/miniupnpd.conf", CONFIG)
    daemon = "miniupnpd -d -f /etc/miniupnpd/miniupnpd.conf"
    host.start(daemon, lambda: requested(UDP) and requested(TCP))


PROGRAM = Program(
    packages=("miniupnpd-nftables", "miniupnpd"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="With a gateway's masquerade; a host of the LAN had a port mapped by NAT-PMP.",
        setup=setup,
        works={"out": (True, True), "in": (True, True)},
    ),
    faults={
        "flushed": Scenario(
            about="nftables.service is reloaded: masquerade is back, mapped ports are not.",
            setup=setup,
            fault=lambda host: host.program("nft -f /etc/nftables.conf"),
            works={"out": (True, True), "in": (True, False)},
            alerts=frozenset({"NetfilterNatRulesLost"}),
        ),
    },
)
