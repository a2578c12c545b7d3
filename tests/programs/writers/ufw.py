from lab.scenario import Scenario
from stage.program import Program

NAT = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-F
-A PREROUTING -i wan -p tcp --dport 8080 -j DNAT --to-destination 10.0.1.2:7
-A PREROUTING -i wan -p udp --dport 8080 -j DNAT --to-destination 10.0.1.2:7
-A POSTROUTING -s 10.0.1.0/24 -o wan -j MASQUERADE
COMMIT

"""
#: Where the package's script puts what /usr/share/ufw has.
FILES = [f"{name}{version}.rules" for name in ("before", "after", "user") for version in ("", "6")]


def setup(host):
    for name in FILES:
        host.file(f"etc/ufw/{name}", (host.root / f"usr/share/ufw/iptables/{name}").read_text())
    host.file("etc/ufw/ufw.conf", (host.root / "usr/share/ufw/ufw.conf").read_text())
    host.edit("etc/ufw/before.rules", "*filter\n", f"{NAT}*filter\n")
    host.edit("etc/default/ufw", 'FORWARD_POLICY="DROP"', 'FORWARD_POLICY="ACCEPT"')
    host.edit("etc/ufw/sysctl.conf", "#net/ipv4/ip_forward=1", "net/ipv4/ip_forward=1")
    host.program("ufw --force enable")


def forward_policy(host):
    host.edit("etc/default/ufw", 'FORWARD_POLICY="ACCEPT"', 'FORWARD_POLICY="DROP"')
    host.program("ufw reload")


PROGRAM = Program(
    packages=("ufw",),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="As its manual says: *nat in before.rules, and forwarding accepted.",
        setup=setup,
        works={"out": (True, True), "in": (True, True)},
    ),
    faults={
        "default-forward-policy": Scenario(
            about="DEFAULT_FORWARD_POLICY is DROP, as the package has it: nothing is forwarded.",
            setup=setup,
            fault=forward_policy,
            works={"bulk": (True, True), "out": (True, False), "in": (True, False)},
            alerts=frozenset({"NetfilterForwardBlocked", "NetfilterNatRuleUnmatchable"}),
        ),
        "disabled": Scenario(
            about="ufw is disabled, its IPv6 filter goes: on purpose or not, a warning for a day.",
            setup=setup,
            fault=lambda host: host.program("ufw disable"),
            works={"out": (True, True), "in": (True, True)},
            alerts=frozenset({"NetfilterConntrackStopped"}),
        ),
    },
)
