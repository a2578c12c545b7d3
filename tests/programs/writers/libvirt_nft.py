from lab.scenario import Scenario
from stage.program import Program
from writers import _libvirt


def setup(host):
    _libvirt.network(host, "nftables")


PROGRAM = Program(
    packages=("libvirt-daemon", "libvirt-clients", "libvirt-daemon-config-network", "dnsmasq-base"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="The default network with firewall_backend nftables, and a guest.",
        setup=setup,
        works={"guest": (True, True)},
    ),
    faults={
        "docker-forward-drop": Scenario(
            about="Docker sets the policy of FORWARD to DROP, which libvirt does not overrule.",
            setup=setup,
            fault=lambda host: host.program("iptables -P FORWARD DROP"),
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterForwardBlocked"}),
        ),
        "stopped": Scenario(
            about="The network is stopped: its rules and its bridge go.",
            setup=setup,
            fault=lambda host: _libvirt.virsh(host, "net-destroy default"),
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
