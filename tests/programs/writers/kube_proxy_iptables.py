from lab.router import SERVER, VIRTUAL
from lab.scenario import Scenario
from stage.program import Program

SERVICES = "".join(
    f"""\
:KUBE-SVC-{name} - [0:0]
:KUBE-SEP-{name} - [0:0]
-A KUBE-SERVICES -d {VIRTUAL}/32 -p {protocol} -m comment --comment "default/echo:{protocol} \
cluster IP" -m {protocol} --dport 7 -j KUBE-SVC-{name}
-A KUBE-SVC-{name} ! -s 10.244.0.0/16 -d {VIRTUAL}/32 -p {protocol} -m {protocol} --dport 7 \
-j KUBE-MARK-MASQ
-A KUBE-SVC-{name} -m comment --comment "default/echo:{protocol} -> {SERVER}:7" -j KUBE-SEP-{name}
-A KUBE-SEP-{name} -s {SERVER}/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-{name} -p {protocol} -m {protocol} -j DNAT --to-destination {SERVER}:7
"""
    for protocol, name in (("tcp", "AAAAAAAAAAAAAAAA"), ("udp", "BBBBBBBBBBBBBBBB"))
)
RULES = f"""\
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "service traffic" -j MASQUERADE --random-fully
{SERVICES}\
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
"""


def setup(host):
    host.program("iptables-restore --noflush", RULES)


PROGRAM = Program(
    source="kube-proxy 1.31, as pkg/proxy/iptables/proxier.go writes",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A node with one service of two ports in iptables mode.",
        setup=setup,
        works={"service": (True, True)},
    ),
    faults={
        "nat-flushed": Scenario(
            about="A script of the administrator flushes table nat.",
            setup=setup,
            fault=lambda host: host.program("iptables -t nat -F"),
            works={"service": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
