from lab.scenario import Scenario
from stage.program import Program
from writers import _libvirt


def setup(host):
    _libvirt.network(host, "iptables")


PROGRAM = Program(
    packages=("libvirt-daemon", "libvirt-clients", "libvirt-daemon-config-network", "dnsmasq-base"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="The default network with firewall_backend iptables, and a guest.",
        setup=setup,
        works={"guest": (True, True)},
    ),
    faults={
        "nat-flushed": Scenario(
            about="A script of the administrator flushes table nat; libvirt does not notice.",
            setup=setup,
            fault=lambda host: host.program("iptables -t nat -F"),
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
    },
)
