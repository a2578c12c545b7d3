from lab.router import ROUTER_WAN, SERVER, VIRTUAL
from lab.scenario import Scenario
from stage.program import Program

SETS = f"""\
create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536
add KUBE-CLUSTER-IP {VIRTUAL},tcp:7
add KUBE-CLUSTER-IP {VIRTUAL},udp:7
create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536
add KUBE-LOOP-BACK {SERVER},tcp:7,{SERVER}
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
"""
RULES = """\
*nat
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port for masquerade \
purpose" -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ
-A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving \
hairpin purpose" -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" \
-j MASQUERADE --random-fully
-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
-A KUBE-SERVICES ! -s 10.244.0.0/16 -m comment --comment "Kubernetes service cluster ip + port for \
masquerade purpose" -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 \
-j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack \
--ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""


def setup(host):
    """Have the server answer for the service: this kernel has no IPVS that would send it there."""
    _, server = host.namespaces[:2]
    # Its answers over UDP come from there too.
    answers = f"route add {ROUTER_WAN}/32 dev eth0 src {VIRTUAL}"
    host.ip(f"addr add {VIRTUAL}/32 dev lo", answers, namespace=server)
    host.program("ipset restore", SETS)
    host.program("iptables-restore --noflush", RULES)


def nat_flushed(host):
    host.program("iptables -t nat -F")


PROGRAM = Program(
    packages=("ipset",),
    source="kube-proxy 1.31, as pkg/proxy/ipvs/proxier.go writes",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A node in ipvs mode: sets of ipset have its services, and marks are masqueraded.",
        setup=setup,
        works={"service": (True, True)},
    ),
    faults={
        "nat-flushed": Scenario(
            about="A script of the administrator flushes table nat; the filter goes on tracking.",
            setup=setup,
            fault=nat_flushed,
            works={"service": (True, False)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
    },
)
