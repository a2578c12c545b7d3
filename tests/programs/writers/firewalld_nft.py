from lab.scenario import Scenario
from stage.program import Program
from writers import _firewalld

#: By another program: with masquerade in a zone, firewalld forwards to it without a policy.
FOREIGN = """
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
  }
}
"""


def setup(host):
    _firewalld.gateway(host, "nftables")


def foreign(host):
    _firewalld.gateway(host, "nftables", masquerade="")
    host.program("sysctl -qw net.ipv4.ip_forward=1")
    host.nft(FOREIGN)


def stopped(host):
    host.program("pkill -x firewalld")
    host.until(lambda: not host.has("table inet firewalld"))


PROGRAM = Program(
    packages=("firewalld", "dbus-daemon"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="Zones external, with masquerade and a forward-port, and internal; a policy.",
        setup=setup,
        works={"out": (True, True), "in": (True, True)},
    ),
    faults={
        "no-policy": Scenario(
            about="Another program masquerades; the policy between the zones goes.",
            setup=foreign,
            fault=_firewalld.without_policy,
            works={"bulk": (True, True), "out": (True, False), "in": (True, True)},
            alerts=frozenset({"NetfilterForwardBlocked"}),
        ),
        "stopped": Scenario(
            about="firewalld is stopped, and takes its rules with it.",
            setup=setup,
            fault=stopped,
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
