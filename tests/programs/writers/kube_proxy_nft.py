from lab.router import SERVER, VIRTUAL
from lab.scenario import Scenario
from stage.program import Program

CHAINS = "".join(
    f"""
  chain service-AAAAAAAA-default/echo/{protocol}/ {{
    ip daddr {VIRTUAL} {protocol} dport 7 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
    numgen random mod 1 vmap {{ 0 : goto endpoint-BBBBBBBB-default/echo/{protocol}/__x/7 }}
  }}
  chain endpoint-BBBBBBBB-default/echo/{protocol}/__x/7 {{
    ip saddr {SERVER} jump mark-for-masquerade
    meta l4proto {protocol} dnat to {SERVER}:7
  }}
"""
    for protocol in ("tcp", "udp")
)
RULES = f"""
table ip kube-proxy {{
  set cluster-ips {{ type ipv4_addr; elements = {{ {VIRTUAL} }} }}
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
  }}
  map service-nodeports {{ type inet_proto . inet_service : verdict; }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }}
  chain nat-output {{ type nat hook output priority -100; policy accept; jump services; }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    jump masquerading
  }}
  chain mark-for-masquerade {{ meta mark set meta mark | 0x00004000; }}
  chain masquerading {{
    meta mark & 0x00004000 == 0x00000000 return
    meta mark set meta mark ^ 0x00004000
    masquerade fully-random
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
    fib daddr type local meta l4proto . th dport vmap @service-nodeports
  }}
{CHAINS}
}}
add element ip kube-proxy service-ips {{
  {VIRTUAL} . tcp . 7 : goto service-AAAAAAAA-default/echo/tcp/,
  {VIRTUAL} . udp . 7 : goto service-AAAAAAAA-default/echo/udp/
}}
"""


def setup(host):
    host.program("nft -f -", RULES)


PROGRAM = Program(
    source="kube-proxy 1.31, as pkg/proxy/nftables/proxier.go writes",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A node with one service of two ports in nftables mode.",
        setup=setup,
        works={"service": (True, True)},
    ),
    faults={
        "flushed": Scenario(
            about="nftables.service starts again, and its file begins with `flush ruleset`.",
            setup=setup,
            fault=lambda host: host.program("nft -f /etc/nftables.conf"),
            works={"service": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
