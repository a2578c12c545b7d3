from lab.scenario import Scenario
from stage.program import Program
from writers import _networkmanager

#: By another program, for a LAN that NetworkManager manages and does not share.
MASQUERADE = """
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr 10.0.1.0/24 oifname "wan" masquerade
  }
}
"""
HOTSPOT = "type ethernet ifname hotspot con-name hotspot ipv4.method shared ipv6.method disabled"


def setup(host):
    _networkmanager.shared(host, "nftables")


def uplink_off(host):
    host.program("nmcli connection modify wan ipv4.forwarding no")
    host.program("nmcli device reapply wan")


def beside(host):
    """Share a hotspot beside a LAN of another program: the switches of both follow it."""
    setup(host)
    host.nft(MASQUERADE)
    host.ip("link add hotspot type veth peer name guest", "link set guest up")
    host.program(f"nmcli connection add {HOTSPOT}")
    host.program("nmcli connection up hotspot")
    host.program("nmcli connection modify lan ipv4.method manual")
    host.program("nmcli connection up lan")


def hotspot_down(host):
    host.program("nmcli connection down hotspot")


PROGRAM = Program(
    packages=("network-manager", "dnsmasq-base", "dbus-daemon"),
    suite="sid",
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="A shared LAN, for which NetworkManager sets the switches of each interface alone.",
        setup=setup,
        works={"out": (True, True)},
    ),
    faults={
        "uplink-off": Scenario(
            about="The uplink's connection gets ipv4.forwarding=no: no reply is forwarded.",
            setup=setup,
            fault=uplink_off,
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatInterfaceForwardingDisabled"}),
        ),
        "last-shared-down": Scenario(
            about="The last shared connection goes down: its table goes, and all forwarding.",
            setup=beside,
            fault=hotspot_down,
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterNatForwardingDisabled", "NetfilterNatTableGone"}),
        ),
    },
)
