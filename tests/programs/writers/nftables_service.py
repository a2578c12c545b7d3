from lab.scenario import Scenario
from stage.program import Program

FILTER = """
flush ruleset

table inet filter {
  chain input {
    type filter hook input priority filter;
  }
  chain forward {
    type filter hook forward priority filter;
    ct state established,related accept
    iifname "lan" accept
    ct status dnat accept
    drop
  }
}
"""
NAT = """
table inet nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "wan" meta l4proto { tcp, udp } th dport 8080 dnat ip to 10.0.1.2:7
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
  }
}
"""


def start(host, text):
    host.file("etc/nftables.conf", text)
    host.program("nft -f /etc/nftables.conf")


def healthy(host):
    start(host, FILTER + NAT)


def foreign(host):
    start(host, FILTER)
    host.program("iptables -t nat -A POSTROUTING -s 10.0.1.0/24 -o wan -j MASQUERADE")


def reload(host):
    host.program("nft -f /etc/nftables.conf")


def without_table(host):
    start(host, FILTER)


PROGRAM = Program(
    packages=("nftables",),
    role="required",
    healthy=Scenario(
        about="/etc/nftables.conf has a gateway's filter and NAT in table inet.",
        setup=healthy,
        works={"out": (True, True), "out6": (True, True), "in": (True, True)},
    ),
    faults={
        "reload-flushes-others": Scenario(
            about="The file begins with `flush ruleset`: a reload takes the rules of iptables too.",
            setup=foreign,
            fault=reload,
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
        "stop": Scenario(
            about="The service is stopped, which flushes the ruleset: tracking ends.",
            setup=healthy,
            fault=lambda host: host.program("nft flush ruleset"),
            works={"out": (True, False), "out6": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
