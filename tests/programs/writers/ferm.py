from lab.scenario import Scenario
from stage.program import Program

FILTER = """
domain ip table filter chain FORWARD {
    policy DROP;
    mod conntrack ctstate (ESTABLISHED RELATED) ACCEPT;
    interface lan outerface wan ACCEPT;
    interface wan outerface lan mod conntrack ctstate DNAT ACCEPT;
}
domain ip table nat chain PREROUTING {
    interface wan proto (tcp udp) dport 8080 DNAT to 10.0.1.2:7;
}
"""
NAT = "domain ip table nat chain POSTROUTING outerface wan MASQUERADE;\n"
#: ferm writes the legacy tables where it finds their tools.
FOREIGN = "iptables-legacy -t nat -A POSTROUTING -s 10.0.1.0/24 ! -o lan -j MASQUERADE"


def load(host):
    host.program("ferm /etc/ferm/ferm.conf")


def healthy(host):
    host.file("etc/ferm/ferm.conf", FILTER + NAT)
    load(host)


def foreign(host):
    host.file("etc/ferm/ferm.conf", FILTER)
    load(host)
    host.program(FOREIGN)


PROGRAM = Program(
    packages=("ferm",),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A gateway's ferm.conf with masquerade and a published port.",
        setup=healthy,
        works={"out": (True, True), "in": (True, True)},
    ),
    faults={
        "reload-takes-others": Scenario(
            about="Another program masquerades; ferm loads its table nat, and takes that away.",
            setup=foreign,
            fault=load,
            works={"out": (True, False), "in": (True, True)},
            alerts=frozenset({"NetfilterNatRulesLost"}),
        ),
    },
)
