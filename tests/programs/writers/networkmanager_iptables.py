from lab.scenario import Scenario
from stage.program import Program
from writers import _networkmanager


def setup(host):
    _networkmanager.shared(host, "iptables")


PROGRAM = Program(
    packages=("network-manager", "dnsmasq-base", "dbus-daemon"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="The same with firewall-backend=iptables.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "connection-down": Scenario(
            about="The shared connection goes down, and its table with it.",
            setup=setup,
            fault=lambda host: host.program("nmcli connection down lan"),
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
        "forwarding-off": Scenario(
            about="Another program turns net.ipv4.ip_forward off.",
            setup=setup,
            fault=lambda host: host.sysctl("net.ipv4.ip_forward", 0),
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatForwardingDisabled"}),
        ),
    },
)
