from lab.scenario import Scenario
from stage.program import Program
from writers import _docker


def setup(host):
    _docker.gateway(host)
    _docker.start(host, iptables=False)
    host.program("sysctl -qw net.ipv4.ip_forward=1")


def network(host):
    """Have the masquerade of the LAN for a container too."""
    setup(host)
    host.nft('add rule ip gateway postrouting ip saddr 172.17.0.0/16 oifname "wan" masquerade')
    _docker.container(host, "")


def setting_lost(host):
    host.program("pkill -x dockerd")
    host.until(lambda: not host.program("pgrep -x dockerd", check=False))
    _docker.start(host)


PROGRAM = Program(
    packages=_docker.PACKAGES,
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="`iptables: false` and a LAN's masquerade, which is for a container too.",
        setup=network,
        works={"out": (True, True), "guest": (True, True)},
    ),
    faults={
        "setting-lost": Scenario(
            about="daemon.json has lost `iptables: false`: Docker drops what the LAN sends.",
            setup=setup,
            fault=setting_lost,
            works={"bulk": (True, True), "out": (True, False)},
            alerts=frozenset({"NetfilterForwardBlocked"}),
        ),
    },
)
