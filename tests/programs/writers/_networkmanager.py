"""NetworkManager with its own D-Bus, which shares its uplink with the LAN."""

from lab.router import ROUTER_LAN, ROUTER_WAN, SERVER

LAN = f"""\
[connection]
id=lan
type=ethernet
interface-name=lan

[ipv4]
method=shared
address1={ROUTER_LAN}/24

[ipv6]
method=disabled
"""
WAN = f"""\
[connection]
id=wan
type=ethernet
interface-name=wan

[ipv4]
method=manual
address1={ROUTER_WAN}/24,{SERVER}

[ipv6]
method=disabled
"""
FOLDER = "etc/NetworkManager/system-connections"


def shared(host, backend):
    """Start NetworkManager with a firewall backend, and have it share the uplink."""
    host.sysctl("net.ipv4.ip_forward", 0)
    config = f"[main]\nplugins=keyfile\nfirewall-backend={backend}\n"
    host.file("etc/NetworkManager/NetworkManager.conf", config)
    for name, text in (("lan", LAN), ("wan", WAN)):
        host.file(f"{FOLDER}/{name}.nmconnection", text, 0o600)
    host.bus()
    # As in a container: there is no udev that would initialize links.
    host.run(f"mount -o remount,bind,ro {host.root}/sys")
    host.start("NetworkManager --no-daemon", lambda: "connected" in status(host))
    for name in ("wan", "lan"):
        host.program(f"nmcli connection up {name}")


def status(host):
    """Return what nmcli says."""
    return host.program("nmcli general status", check=False)
