from lab.router import ROUTER_WAN, VIRTUAL
from lab.scenario import Scenario
from stage.program import Program

#: What stands for ssh: it runs the command on the server.
SSH = """\
#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec nsenter --net=/run/netns/stage-server sh -c "$*"
"""
COMMAND = "sshuttle --method {} --disable-ipv6 --ssh-cmd /etc/ssh-to-server -r server {}/32"


def started(host, method):
    """Have a host on which somebody reaches an address behind a server, by a method."""
    _, server = host.namespaces[:2]
    # Its answers over UDP come from there too.
    answers = f"route add {ROUTER_WAN}/32 dev eth0 src {VIRTUAL}"
    host.ip(f"addr add {VIRTUAL}/32 dev lo", answers, namespace=server)
    host.file("etc/ssh-to-server", SSH, 0o755)
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        host.sysctl(name, 0)
    host.start(COMMAND.format(method, VIRTUAL), lambda: host.has(VIRTUAL))


def setup(host):
    started(host, "nft")


def iptables(host):
    started(host, "nat")


def ended(host):
    # The oldest alone: its child, signalled while it removes the rules, leaves the rest of them.
    host.program("pkill --oldest -x sshuttle")
    host.until(lambda: not host.has(VIRTUAL))


PROGRAM = Program(
    packages=("sshuttle", "python3"),
    role="none",
    healthy=Scenario(
        about="A client whose connections go through a server: the host forwards nothing.",
        setup=setup,
        works={"local": (True, True)},
    ),
    faults={
        "ended": Scenario(
            about="The user ends it, and its rules go; the host was not a router: no page.",
            setup=setup,
            fault=ended,
            works={"local": (True, True)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
            pages=False,
        ),
        "ended-iptables": Scenario(
            about="The same with --method nat, which uses iptables.",
            setup=iptables,
            fault=ended,
            works={"local": (True, True)},
            alerts=frozenset({"NetfilterNatRulesGone"}),
            pages=False,
        ),
    },
)
