from lab.scenario import Scenario
from stage.program import Program

DAEMON = "dockerd --data-root /tmp/docker --storage-driver vfs"
SECOND = "docker network create --subnet 172.30.0.0/24 -o com.docker.network.bridge.name=br1 second"
MASQUERADE = """
table ip gateway {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr 10.0.1.0/24 oifname "wan" masquerade
  }
}
"""


def start(host):
    """Start dockerd where net.ipv4.ip_forward is off, as after a boot."""
    host.sysctl("net.ipv4.ip_forward", 0)
    host.run(f"mount -t cgroup2 stage {host.root}/sys/fs/cgroup")
    host.start(DAEMON, lambda: "docker0" in inspected(host))


def inspected(host):
    return host.program("docker network inspect bridge", check=False)


def setup(host):
    start(host)
    host.program(SECOND)
    host.guest("docker0", "172.17.0.2/16", "172.17.0.1")


def gateway(host):
    host.nft(MASQUERADE)


PROGRAM = Program(
    packages=("docker.io", "docker-cli", "containerd", "runc"),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="dockerd with its default bridge and a second one, and a host on the first.",
        setup=setup,
        works={"guest": (True, True)},
    ),
    faults={
        "forward-drop": Scenario(
            about="dockerd starts on a LAN's gateway, and sets the policy of FORWARD to DROP.",
            setup=gateway,
            fault=start,
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
    },
)
