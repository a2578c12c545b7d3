from lab.scenario import Scenario
from stage.program import Program

CONFIG = """
[Interface]
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
Address = 10.66.0.1/24
ListenPort = 51820
PostUp = iptables -A FORWARD -i %i -j ACCEPT
PostUp = iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
PostUp = iptables -t nat -A POSTROUTING -s 10.0.1.0/24 -o %i -j MASQUERADE
PostDown = iptables -D FORWARD -i %i -j ACCEPT
PostDown = iptables -t nat -D POSTROUTING -o wan -j MASQUERADE
PostDown = iptables -t nat -D POSTROUTING -s 10.0.1.0/24 -o %i -j MASQUERADE
"""


def setup(host):
    host.file("etc/wireguard/wg0.conf", CONFIG, 0o600)
    host.program("wg-quick up wg0")


def restart(host):
    host.program("wg-quick down wg0")
    host.program("wg-quick up wg0")


PROGRAM = Program(
    packages=("wireguard-tools", "wireguard-go"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A tunnel, with wireguard-go, whose PostUp masquerades in both directions.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "down": Scenario(
            about="`wg-quick down`: PostDown takes all NAT of the host away.",
            setup=setup,
            fault=lambda host: host.program("wg-quick down wg0"),
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
        "restarted": Scenario(
            about="The tunnel goes and comes again: PostUp brings all NAT back.",
            setup=setup,
            fault=restart,
            works={"out": (True, True)},
        ),
        "tunnel-crashed": Scenario(
            about="The tunnel goes without PostDown: its rules stay, its interface does not.",
            setup=setup,
            fault=lambda host: host.ip("link del wg0"),
            works={"out": (True, True)},
            meant=True,
            alerts=frozenset({"NetfilterNatInterfaceMissing"}),
        ),
    },
)
