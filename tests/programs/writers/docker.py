from lab.scenario import Scenario
from stage.program import Program
from writers import _docker, _firewalld

PUBLISHED = "-p 8080:7 -p 8080:7/udp"
SECOND = "docker network create --subnet 172.30.0.0/24 -o com.docker.network.bridge.name=br1 second"


def setup(host):
    _docker.start(host)
    host.program(SECOND)
    _docker.container(host, PUBLISHED)


def firewalld(host):
    _firewalld.start(host, "iptables")


PROGRAM = Program(
    packages=_docker.PACKAGES,
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="dockerd with its default bridge and a second one; a container publishes a port.",
        setup=setup,
        works={"guest": (True, True), "in": (True, True)},
    ),
    faults={
        "forward-drop": Scenario(
            about="dockerd starts on a LAN's gateway, and sets the policy of FORWARD to DROP.",
            setup=_docker.gateway,
            fault=_docker.start,
            works={"bulk": (True, True), "out": (True, False)},
            alerts=frozenset({"NetfilterForwardBlocked"}),
        ),
        "nat-flushed": Scenario(
            about="Another program reloads, and takes what Docker has in table nat.",
            setup=setup,
            fault=lambda host: host.program("iptables -t nat -F"),
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
        "firewalld-starts": Scenario(
            about="firewalld starts behind Docker, whose rules it takes until Docker starts again.",
            setup=setup,
            fault=firewalld,
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
        "last-container-stops": Scenario(
            about="The container stops after a day, and its published port with it.",
            setup=setup,
            fault=lambda host: host.program("docker stop -t 0 web"),
            works={"in": (True, False)},
            alerts=frozenset({"NetfilterNatRulesLost"}),
        ),
    },
)
