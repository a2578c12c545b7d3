import json

from lab.scenario import Scenario
from stage.program import Program

NETAVARK = "/usr/lib/podman/netavark --firewall-driver nftables --config /run/containers"
NETWORK = {
    "name": "podman",
    "id": "5eed" * 16,
    "driver": "bridge",
    "network_interface": "podman0",
    "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
    "ipv6_enabled": False,
    "internal": False,
    "dns_enabled": False,
    "ipam_options": {"driver": "host-local"},
}
CONTAINER = {
    "container_id": "beef" * 16,
    "container_name": "web",
    "networks": {"podman": {"static_ips": ["10.88.0.2"], "interface_name": "eth0"}},
    "network_info": {"podman": NETWORK},
    "port_mappings": [
        {"container_port": 7, "host_ip": "", "host_port": 8080, "protocol": each, "range": 1}
        for each in ("tcp", "udp")
    ],
}


def netavark(host, command):
    """Do what Podman does when a container starts, or stops."""
    host.program(f"{NETAVARK} {command} /run/netns/web", json.dumps(CONTAINER))


def setup(host):
    host.sysctl("net.ipv4.ip_forward", 0)
    host.ip("netns add web")
    netavark(host, "setup")
    host.adopt("web")


PROGRAM = Program(
    packages=("netavark",),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="Podman's network with a container that publishes a port.",
        setup=setup,
        works={"guest": (True, True), "in": (True, True)},
    ),
    faults={
        "last-container-stops": Scenario(
            about="The last container stops after a day: what it published goes with it.",
            setup=setup,
            fault=lambda host: netavark(host, "teardown"),
            works={"guest": (True, False), "in": (True, False)},
            alerts=frozenset({"NetfilterNatRulesLost"}),
        ),
        "flushed": Scenario(
            about="The ruleset is flushed, and Podman does not notice until a container starts.",
            setup=setup,
            fault=lambda host: host.program("nft flush ruleset"),
            works={"guest": (True, False), "in": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
