from lab.router import ROUTER_LAN, ROUTER_WAN, SERVER
from lab.scenario import Scenario
from stage.program import Program

LAN = f"""\
[Match]
Name=lan

[Network]
Address={ROUTER_LAN}/24
IPMasquerade=ipv4
IPv4Forwarding=yes
"""
WAN = f"""\
[Match]
Name=wan

[Network]
Address={ROUTER_WAN}/24
Gateway={SERVER}
IPv4Forwarding=yes
"""
FILES = "etc/systemd/network"


def setup(host):
    host.sysctl("net.ipv4.ip_forward", 0)
    host.file(f"{FILES}/lan.network", LAN)
    host.file(f"{FILES}/wan.network", WAN)
    # As in a container: there is no udev that would initialize links.
    host.run(f"mount -o remount,bind,ro {host.root}/sys")
    # As systemd-tmpfiles makes them.
    owned = "install -d -o systemd-network -g systemd-network"
    host.program(f"{owned} /run/systemd/netif /run/systemd/netif/links /run/systemd/netif/leases")
    host.start("/usr/lib/systemd/systemd-networkd", lambda: host.has("masquerade"))


def forwarding_off(host):
    """Reload as `systemctl reload` does: networkctl does nothing in a chroot."""
    for name in ("lan", "wan"):
        host.edit(f"{FILES}/{name}.network", "IPv4Forwarding=yes", "IPv4Forwarding=no")
    host.program("pkill -HUP -f systemd-networkd")
    switches = "sysctl -n net.ipv4.conf.lan.forwarding net.ipv4.conf.wan.forwarding"
    host.until(lambda: host.program(switches).split() == ["0", "0"])


def flushed(host):
    host.program("nft flush set ip io.systemd.nat masq_saddr")
    host.settle()


def network(host):
    host.population()
    setup(host)


PROGRAM = Program(
    packages=("systemd",),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A .network file of the LAN has IPMasquerade=ipv4.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "reload-forwarding-off": Scenario(
            about="networkd reloads files that turn forwarding off, and keeps its masquerade.",
            setup=setup,
            fault=forwarding_off,
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatForwardingDisabled"}),
        ),
        "another-forwarding-off": Scenario(
            about="Another program turns net.ipv4.ip_forward off.",
            setup=setup,
            fault=lambda host: host.sysctl("net.ipv4.ip_forward", 0),
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatForwardingDisabled"}),
        ),
        "set-emptied": Scenario(
            about="The set of networks that are masqueraded is empty.",
            setup=network,
            fault=flushed,
            works={"outbound": (True, False)},
            alerts=frozenset({"NetfilterNatRuleUnmatchable", "NetfilterNatUntranslated"}),
        ),
    },
)
