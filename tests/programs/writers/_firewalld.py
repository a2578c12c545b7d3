"""firewalld with its own D-Bus: a gateway of two zones."""

ZONES = {
    "external": """\
<zone><interface name="wan"/>MASQUERADE<service name="ssh"/>
<forward-port port="8080" protocol="tcp" to-port="7" to-addr="10.0.1.2"/>
<forward-port port="8080" protocol="udp" to-port="7" to-addr="10.0.1.2"/></zone>
""",
    "internal": '<zone><interface name="lan"/></zone>\n',
}
POLICY = """\
<policy target="ACCEPT"><ingress-zone name="internal"/><egress-zone name="external"/></policy>
"""
POLICY_FILE = "etc/firewalld/policies/to-external.xml"


def gateway(host, backend, masquerade="<masquerade/>"):
    """Start firewalld with a policy between its zones."""
    host.sysctl("net.ipv4.ip_forward", 0)
    for zone, text in ZONES.items():
        host.file(f"etc/firewalld/zones/{zone}.xml", text.replace("MASQUERADE", masquerade))
    host.file(POLICY_FILE, POLICY)
    start(host, backend)


def start(host, backend):
    """Start firewalld as it is configured, with a backend."""
    host.edit("etc/firewalld/firewalld.conf", "=nftables\n", f"={backend}\n")
    host.bus()
    host.start("firewalld --nofork --nopid", lambda: "running" in state(host))


def state(host):
    """Return what firewall-cmd says."""
    return host.program("firewall-cmd --state", check=False)


def reload(host):
    """Have firewalld read its files again."""
    host.program("firewall-cmd --reload")


def without_policy(host):
    """Take the policy between the zones away."""
    (host.root / POLICY_FILE).unlink()
    reload(host)
