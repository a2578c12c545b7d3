from lab.scenario import Scenario
from stage.program import Program

#: The LAN stands for wt0.
RULES = """
table ip netbird {
  chain netbird-rt-prerouting {
    type filter hook prerouting priority mangle; policy accept;
    ct state new iifname "lan" ip daddr 0.0.0.0/0 meta mark set 0x0001bd11
    ct state new iifname != "lan" fib daddr type != local ip saddr 203.0.113.0/24 \
meta mark set 0x0001bd12
  }
  chain netbird-rt-postrouting {
    type nat hook postrouting priority srcnat - 1; policy accept;
    meta mark 0x0001bd11 oifname != "lo" counter masquerade
    meta mark 0x0001bd12 oifname "lan" counter masquerade
  }
  chain netbird-rt-fwd {
    ct state established,related accept
    ip daddr 0.0.0.0/0 counter accept comment "route"
  }
  chain netbird-acl-forward-filter {
    type filter hook forward priority filter; policy accept;
    iifname "lan" jump netbird-rt-fwd
    oifname "lan" ct state established,related accept
    iifname "lan" drop
  }
}
"""


def setup(host):
    host.nft(RULES)


def route_not_accepted(host):
    listed = host.run("nft -a list chain ip netbird netbird-rt-fwd")
    (rule,) = (line.split()[-1] for line in listed.splitlines() if '"route"' in line)
    host.run(f"nft delete rule ip netbird netbird-rt-fwd handle {rule}")


PROGRAM = Program(
    source="NetBird 0.33, as client/firewall/nftables/router_linux.go writes",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="An exit node: what comes from the tunnel is marked, and masqueraded.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "route-not-accepted": Scenario(
            about="The rule that accepts the route is missing: the tunnel's new flows are dropped.",
            setup=setup,
            fault=route_not_accepted,
            works={"bulk": (True, True), "out": (True, False)},
            alerts=frozenset({"NetfilterNatTrafficDropped"}),
        ),
        "forwarding-off": Scenario(
            about="net.ipv4.ip_forward is off again, as a reload of sysctl.d sets it.",
            setup=setup,
            fault=lambda host: host.sysctl("net.ipv4.ip_forward", 0),
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatForwardingDisabled"}),
        ),
    },
)
