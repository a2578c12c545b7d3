from lab.scenario import Scenario
from stage.program import Program
from writers import _docker

NETWORK = "docker network create --ipv6 --subnet fd00:99::/64 dual"


def setup(host):
    _docker.start(host, experimental=True, ip6tables=True)
    host.program(NETWORK)
    _docker.container(host, "--network dual -p 8080:7")


def flushed(host):
    host.program("ip6tables -t nat -F")


def forwarding_off(host):
    host.sysctl("net.ipv6.conf.all.forwarding", 0)


PROGRAM = Program(
    packages=_docker.PACKAGES,
    role="required",
    healthy=Scenario(
        about="A container on a network of both families: ip6tables masquerades its addresses.",
        setup=setup,
        works={"guest": (True, True), "guest6": (True, True)},
    ),
    faults={
        "nat-flushed": Scenario(
            about="Another program flushes table nat of ip6tables.",
            setup=setup,
            fault=flushed,
            works={"guest": (True, True), "guest6": (True, False)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
        "forwarding-off": Scenario(
            about="net.ipv6.conf.all.forwarding is off again, as a reload of sysctl.d sets it.",
            setup=setup,
            fault=forwarding_off,
            works={"guest": (True, True), "guest6": (True, False)},
            alerts=frozenset({"NetfilterNatForwardingDisabled"}),
        ),
    },
)
