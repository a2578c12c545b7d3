from lab.scenario import Scenario
from stage.program import Program

#: The LAN stands for a pod behind an interface named lxc and a number.
RULES = """\
*nat
:CILIUM_OUTPUT_nat - [0:0]
:CILIUM_POST_nat - [0:0]
:CILIUM_PRE_nat - [0:0]
-A PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_nat" -j CILIUM_PRE_nat
-A OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT_nat" -j CILIUM_OUTPUT_nat
-A POSTROUTING -m comment --comment "cilium-feeder: CILIUM_POST_nat" -j CILIUM_POST_nat
-A CILIUM_POST_nat -s 10.0.1.0/24 ! -d 10.0.0.0/16 ! -o cilium_+ -m comment --comment "cilium \
masquerade non-cluster" -j MASQUERADE
-A CILIUM_POST_nat -m mark --mark 0xa00/0xe00 -m comment --comment "exclude proxy return traffic \
from masquerade" -j ACCEPT
-A CILIUM_POST_nat ! -s 10.0.1.0/24 ! -d 10.0.1.0/24 -o cilium_host -m comment --comment "cilium \
host->cluster masquerade" -j SNAT --to-source 10.0.1.1
-A CILIUM_POST_nat -s 127.0.0.1/32 -o cilium_host -m comment --comment "cilium host->cluster from \
127.0.0.1 masquerade" -j SNAT --to-source 10.0.1.1
-A CILIUM_POST_nat -o cilium_host -m mark --mark 0xf00/0xf00 -m conntrack --ctstate DNAT \
-m comment --comment "hairpin traffic that originated from a local pod" -j SNAT --to-source 10.0.1.1
COMMIT
*filter
:CILIUM_FORWARD - [0:0]
-A FORWARD -m comment --comment "cilium-feeder: CILIUM_FORWARD" -j CILIUM_FORWARD
-A CILIUM_FORWARD -o cilium_host -m comment --comment "cilium: any->cluster on cilium_host \
forward accept" -j ACCEPT
-A CILIUM_FORWARD -i cilium_host -m comment --comment "cilium: cluster->any on cilium_host \
forward accept (nodeport)" -j ACCEPT
-A CILIUM_FORWARD -i lan -m comment --comment "cilium: cluster->any on lxc+ forward accept" \
-j ACCEPT
-A CILIUM_FORWARD -i cilium_net -m comment --comment "cilium: cluster->any on cilium_net forward \
accept (nodeport)" -j ACCEPT
-A CILIUM_FORWARD -o lan -m comment --comment "cilium: any->cluster on lxc+ forward accept" \
-j ACCEPT
COMMIT
"""


def setup(host):
    host.ip("link add cilium_net type veth peer name cilium_host")
    host.ip("link set cilium_net up", "link set cilium_host up")
    host.program("iptables-restore --noflush", RULES)


def forward_flushed(host):
    host.program("iptables -P FORWARD DROP")
    host.program("iptables -F FORWARD")


def everything_flushed(host):
    host.program("nft -f /etc/nftables.conf")


PROGRAM = Program(
    source="Cilium 1.16, as pkg/datapath/iptables/iptables.go writes",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A node with masquerade by iptables, and without the proxy of layer 7.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "forward-flushed": Scenario(
            about="Another firewall starts: FORWARD drops, and the agent's jump is gone.",
            setup=setup,
            fault=forward_flushed,
            works={"bulk": (True, True), "out": (True, False)},
            alerts=frozenset({"NetfilterForwardBlocked"}),
        ),
        "flushed": Scenario(
            about="nftables.service starts again, and its file begins with `flush ruleset`.",
            setup=setup,
            fault=everything_flushed,
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
