from lab.scenario import Scenario
from stage.program import Program

RULES = """\
*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.0.1.0/24 -d 10.0.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.0.0.0/16 -d 10.0.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.0.0.0/16 -d 10.0.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.0.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" \
-j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.0.0.0/16 -d 10.0.0.0/16 -m comment --comment "flanneld masq" \
-j MASQUERADE --random-fully
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.0.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.0.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
"""


def setup(host):
    host.program("iptables-restore --noflush", RULES)


def filtered(host):
    host.program("iptables -P FORWARD DROP")
    host.program("iptables -F FLANNEL-FWD")


PROGRAM = Program(
    source="Flannel 0.26, as pkg/trafficmngr/iptables/iptables.go writes",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A node whose pods are masqueraded on their way out of the cluster.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "docker-forward-drop": Scenario(
            about="FORWARD has the policy DROP since Docker 1.13, and Flannel's accepts are gone.",
            setup=setup,
            fault=filtered,
            works={"bulk": (True, True), "out": (True, False)},
            alerts=frozenset({"NetfilterForwardBlocked"}),
        ),
    },
)
