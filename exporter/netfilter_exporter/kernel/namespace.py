"""Whether the network namespace that is looked at is the one the machine booted with."""

from __future__ import annotations

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import Unsupported

_CORE = "sys/net/core"

#: Registered for init_net alone: net/core/sysctl_net_core.c (net_core_table) and
#: net/netfilter/nf_conntrack_standalone.c (nf_ct_netfilter_table).
_INITIAL_ONLY = (f"{_CORE}/netdev_budget", "sys/net/nf_conntrack_max")


def read_host_network_namespace(paths: files.Paths) -> bool:
    """Return whether procfs shows the initial network namespace.

    Needs no privilege and is right inside a container, where a comparison with pid 1 misleads.
    Raises Unsupported where net.core itself is absent, as in a sandbox: then nothing is known.
    """
    if any(files.exists(paths.proc(name)) for name in _INITIAL_ONLY):
        return True
    if not files.exists(paths.proc(_CORE)):
        raise Unsupported(f"{paths.proc(_CORE)}: absent: the namespace is unknown")
    return False
