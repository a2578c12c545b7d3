"""Whether an interface is a port of another one, which IP does not see.

A port of a bridge or a bond hands what it receives to its master before any IP hook, and sends what
that gives it: rules meet the master's name.

Source: br_sysfs_addif (net/bridge/br_sysfs_if.c), bond_enslave (drivers/net/bonding, v6.18).
"""

from __future__ import annotations

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.files import Paths


def is_port(paths: Paths, interface: str) -> bool:
    """Return whether an interface is a port of a bridge or a bond."""
    return is_bridge_port(paths, interface) or _has(paths, interface, "bonding_slave")


def is_bridge_port(paths: Paths, interface: str) -> bool:
    """Return whether an interface is a port of a bridge, which forwards in its place."""
    return _has(paths, interface, "brport")


def _has(paths: Paths, interface: str, sign: str) -> bool:
    return files.exists(paths.sys(f"class/net/{interface}/{sign}"))
