"""libvirt's default network, and a guest on it."""


def network(host, backend):
    """Start libvirtd and its default network, with a firewall backend."""
    host.sysctl("net.ipv4.ip_forward", 0)
    host.file("etc/libvirt/network.conf", f'firewall_backend = "{backend}"\n')
    # It mends checksums of DHCP, for which a kernel may lack act_csum.
    host.file("usr/sbin/tc", "#!/bin/sh\n", 0o755)
    host.start("libvirtd", (host.root / "run/libvirt/libvirt-sock").exists)
    virsh(host, "net-define /usr/share/libvirt/networks/default.xml")
    virsh(host, "net-start default")
    host.guest("virbr0", "192.168.122.2/24", "192.168.122.1")


def virsh(host, command):
    """Run a command of virsh."""
    return host.program(f"virsh -c network:///system {command}")
