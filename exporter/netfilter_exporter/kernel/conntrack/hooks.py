"""The functions at netfilter's hooks, as nfnetlink_hook lists them.

Source: net/netfilter/nfnetlink_hook.c and include/uapi/linux/netfilter/nfnetlink_hook.h (v6.18);
since 5.14, off in many builds. Asking loads it where it is a module: pass the gate first.
Function names need CONFIG_KALLSYMS. Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno

from netfilter_exporter.kernel.errors import Unsupported
from netfilter_exporter.kernel.netlink.attributes import pack, text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NetlinkError, nfgenmsg, nfnetlink_map
from netfilter_exporter.rules.families import Family, Hook

NFNL_MSG_HOOK_GET = 12 << 8  # NFNL_SUBSYS_HOOK
NFNLA_HOOK_HOOKNUM = 1
NFNLA_HOOK_FUNCTION_NAME = 4

#: Part of ipv4_conntrack_in and ipv6_conntrack_in, where the tracking of received packets begins.
CONNTRACK_IN = "conntrack_in"


def read_functions(connection: Connection, family: Family, hook: Hook) -> list[str]:
    """Return the names of the functions at a hook, in the order in which they are called.

    Raises `Unsupported` where the kernel has no nfnetlink_hook, or hides its symbols.
    """
    request = nfgenmsg(family.nfproto) + pack(NFNLA_HOOK_HOOKNUM, int(hook).to_bytes(4, "big"))
    try:
        functions = connection.dump("hook dump", NFNL_MSG_HOOK_GET, request, parse_function)
    except NetlinkError as error:
        if error.errno in {errno.EINVAL, errno.EOPNOTSUPP}:
            raise Unsupported("this kernel cannot list its hooks (nfnetlink_hook)") from None
        raise
    if functions and not any(functions):
        raise Unsupported("this kernel lists its hooks without names (CONFIG_KALLSYMS)")
    return functions


def parse_function(payload: memoryview) -> str:
    """Return the name in one message of a hook dump, empty where there is none."""
    return text(nfnetlink_map(payload).get(NFNLA_HOOK_FUNCTION_NAME, memoryview(b"")))


def tracks(connection: Connection, family: Family) -> bool:
    """Return whether received packets of `family` are tracked in this namespace."""
    functions = read_functions(connection, family, Hook.PREROUTING)
    return any(CONNTRACK_IN in function for function in functions)
