"""dockerd with containers of an image that holds a program which sleeps."""

import contextlib
import json

PACKAGES = ("docker.io", "docker-cli", "containerd", "runc")
MASQUERADE = """
table ip gateway {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr 10.0.1.0/24 oifname "wan" masquerade
  }
}
"""
_DAEMON = "dockerd --data-root /tmp/docker --storage-driver vfs"
_CGROUPS = "sys/fs/cgroup"
_IMAGE = (
    "usr/bin/sleep",
    "lib/x86_64-linux-gnu/libc.so.6",
    "lib64/ld-linux-x86-64.so.2",
)
_UNCONFINED = "--security-opt apparmor=unconfined --security-opt seccomp=unconfined"


def gateway(host):
    """Have another program masquerade a LAN."""
    host.nft(MASQUERADE)


def start(host, **settings):
    """Start dockerd, configured by daemon.json, where nothing is forwarded, as after a boot."""
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        host.sysctl(name, 0)
    groups = host.root / _CGROUPS
    if not (groups / "cgroup.procs").exists():
        host.run(f"mount -t cgroup2 stage {groups}")
    host.file("etc/docker/daemon.json", json.dumps(settings))
    host.start(_DAEMON, lambda: "docker0" in inspected(host))


def inspected(host):
    """Return what Docker says of its default network, once it answers."""
    return host.program("docker network inspect bridge", check=False)


def container(host, options):
    """Run a container whose network is a guest of the host, until the host ends."""
    image(host)
    number = run(host, "web", options)
    host.ip(f"netns attach web {number}")
    host.adopt("web")


def image(host):
    """Have what containers are made of, without a registry."""
    files = " ".join(_IMAGE)
    host.run(f"tar -chf {host.root}/tmp/image.tar -C {host.root} {files}")
    host.program("docker import /tmp/image.tar sleep")


def run(host, name, options):
    """Run a container until the host ends; return the number of its process."""
    host.at_end(lambda: _remove(host, name))
    host.program(f"docker run -d --name {name} {_UNCONFINED} {options} sleep /usr/bin/sleep 1000")
    return int(host.program(f"docker inspect -f {{{{.State.Pid}}}} {name}"))


def _remove(host, name):
    """Remove a container, and the group of processes that the machine's kernel has of it."""
    host.program(f"docker rm -f {name}", check=False)
    with contextlib.suppress(OSError):  # those of other hosts are there
        (host.root / _CGROUPS / "docker").rmdir()
