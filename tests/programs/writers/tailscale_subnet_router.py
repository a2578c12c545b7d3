from lab.scenario import Scenario
from stage.program import Program

#: The LAN stands for tailscale0.
RULES = """\
*filter
:ts-forward - [0:0]
-A FORWARD -j ts-forward
-A ts-forward -i lan -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
-A ts-forward -o lan -j ACCEPT
COMMIT
*nat
:ts-postrouting - [0:0]
-A POSTROUTING -j ts-postrouting
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
COMMIT
"""


def setup(host):
    host.program("iptables-restore --noflush", RULES)


PROGRAM = Program(
    source="Tailscale 1.78, as util/linuxfw/iptables_runner.go writes",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A subnet router: what comes from the tunnel is marked, and masqueraded.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "forwarding-off": Scenario(
            about="net.ipv4.ip_forward was set by hand and is off again.",
            setup=setup,
            fault=lambda host: host.sysctl("net.ipv4.ip_forward", 0),
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatForwardingDisabled"}),
        ),
    },
)
