from lab.scenario import Scenario
from stage.program import Program


def setup(host):
    host.sysctl("net.ipv4.ip_forward", 0)
    host.file("etc/default/lxc-net", 'USE_LXC_BRIDGE="true"\n')
    host.program("/usr/libexec/lxc/lxc-net start")
    host.guest("lxcbr0", "10.0.3.2/24", "10.0.3.1")


def filtered(host):
    host.program("iptables -P FORWARD DROP")


def forwarding_off(host):
    host.sysctl("net.ipv4.ip_forward", 0)


PROGRAM = Program(
    packages=("lxc",),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="lxc-net makes lxcbr0 with its masquerade; a container is on it.",
        setup=setup,
        works={"guest": (True, True)},
    ),
    faults={
        "docker-forward-drop": Scenario(
            about="Docker sets the policy of FORWARD to DROP.",
            setup=setup,
            fault=filtered,
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterForwardBlocked"}),
        ),
        "forwarding-off": Scenario(
            about="Another program turns net.ipv4.ip_forward off.",
            setup=setup,
            fault=forwarding_off,
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterNatForwardingDisabled"}),
        ),
        "restarted-nftables": Scenario(
            about="nftables.service starts again, and its file begins with `flush ruleset`.",
            setup=setup,
            fault=lambda host: host.program("nft -f /etc/nftables.conf"),
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
