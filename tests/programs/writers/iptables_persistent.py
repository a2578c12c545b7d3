from lab.scenario import Scenario
from stage.program import Program

RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan -o wan -j ACCEPT
-A FORWARD -i wan -o lan -m conntrack --ctstate DNAT -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.1.2:7
-A PREROUTING -i wan -p udp -m udp --dport 8080 -j DNAT --to-destination 10.0.1.2:7
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
"""


def setup(host):
    host.file("etc/iptables/rules.v4", RULES)
    restore(host)


def restore(host):
    host.program("netfilter-persistent start")


def saved_without_nat(host):
    host.edit("etc/iptables/rules.v4", "-A POSTROUTING -o wan -j MASQUERADE\n", "")
    restore(host)


PROGRAM = Program(
    packages=("iptables-persistent", "netfilter-persistent"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="netfilter-persistent loads the rules that were saved.",
        setup=setup,
        works={"out": (True, True), "in": (True, True)},
    ),
    faults={
        "saved-without-masquerade": Scenario(
            about="Rules were saved while masquerade was missing; a restart loads them.",
            setup=setup,
            fault=saved_without_nat,
            works={"out": (True, False), "in": (True, True)},
            alerts=frozenset({"NetfilterNatRulesLost"}),
        ),
    },
)
