from lab.scenario import Scenario
from stage.program import Program

FILES = {
    "zones": "fw firewall\nnet ipv4\nloc ipv4\n",
    "interfaces": "?FORMAT 2\nnet wan tcpflags,nosmurfs,sourceroute=0\nloc lan tcpflags,nosmurfs\n",
    "policy": "fw all ACCEPT\nloc net ACCEPT\nloc fw ACCEPT\nnet all DROP\nall all REJECT\n",
    "snat": "MASQUERADE 10.0.1.0/24 wan\n",
    "rules": "?SECTION NEW\nDNAT net loc:10.0.1.2:7 tcp 8080\nDNAT net loc:10.0.1.2:7 udp 8080\n",
}


def setup(host):
    for name, text in FILES.items():
        host.file(f"etc/shorewall/{name}", text)
    host.edit("etc/shorewall/shorewall.conf", "IP_FORWARDING=Keep", "IP_FORWARDING=On")
    host.program("shorewall start")


PROGRAM = Program(
    packages=("shorewall", "shorewall-core"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="The two-interface firewall of its guide, with a published port.",
        setup=setup,
        works={"out": (True, True), "in": (True, True)},
    ),
    faults={
        "cleared": Scenario(
            about="`shorewall clear` opens the firewall, and takes NAT away with it.",
            setup=setup,
            fault=lambda host: host.program("shorewall clear"),
            works={"out": (True, False), "in": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
