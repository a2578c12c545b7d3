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


def behind_firewalld(host):
    firewalld(host)
    setup(host)


def reload(host):
    """Reload firewalld, and wait: Docker hears of it over D-Bus, and writes its rules again."""
    written = translating(host)
    _firewalld.reload(host)
    host.until(lambda: translating(host) == written)


def translating(host):
    """Return the rules that translate, in any order."""
    rules = host.program("iptables -t nat -S").splitlines()
    return sorted(rule for rule in rules if "MASQUERADE" in rule or "DNAT" in rule)


def stopped(host):
    host.program("pkill -x firewalld")
    host.until(lambda: not translating(host))


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
        "firewalld-reload": Scenario(
            about="firewalld reloads and takes Docker's rules; Docker 26 writes them in a second.",
            setup=behind_firewalld,
            fault=reload,
            works={"guest": (True, True), "in": (True, True)},
        ),
        "firewalld-stopped": Scenario(
            about="firewalld is stopped, and takes Docker's rules until Docker starts again.",
            setup=behind_firewalld,
            fault=stopped,
            works={"guest": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
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
