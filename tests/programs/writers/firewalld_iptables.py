from lab.scenario import Scenario
from stage.program import Program
from writers import _firewalld

FOREIGN = "iptables -t nat -A POSTROUTING -s 10.0.1.0/24 ! -o lan -j MASQUERADE"
TRUSTED = '<zone target="ACCEPT"><interface name="lan"/><interface name="wan"/></zone>\n'


def healthy(host):
    _firewalld.gateway(host, "iptables")


def foreign(host):
    host.file("etc/firewalld/zones/trusted.xml", TRUSTED)
    _firewalld.start(host, "iptables")
    host.program(FOREIGN)


PROGRAM = Program(
    packages=("firewalld", "dbus-daemon"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="The same gateway with FirewallBackend=iptables.",
        setup=healthy,
        works={"out": (True, True), "in": (True, True)},
    ),
    faults={
        "reload-takes-others": Scenario(
            about="`firewall-cmd --reload` takes the masquerade of another program, as Docker's.",
            setup=foreign,
            fault=_firewalld.reload,
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
    },
)
