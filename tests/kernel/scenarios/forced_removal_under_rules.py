from pathlib import Path

from lab.scenario import Scenario

#: The taint of an Oops (include/linux/panic.h, v6.18).
DIED = 1 << 7


def setup(router):
    # No packet may reach the rule: it is the reading of it that is looked at.
    router.sh(
        "modprobe nf_conntrack_netlink",
        "iptables-legacy -t nat -A POSTROUTING -o none0 -j MASQUERADE",
    )


def fault(router):
    router.run("rmmod -f xt_MASQUERADE")
    router.exporter.restart()


def check(_):
    taint = int(Path("/proc/sys/kernel/tainted").read_text())
    return ["the kernel has died of being looked at"] if taint & DIED else []


SCENARIO = Scenario(
    about="A module is removed by force under a rule that uses it: reading the rule would crash.",
    setup=setup,
    fault=fault,
    before={'nat_rules{backend="legacy",family="ipv4",action="masquerade"}': 1},
    after={
        "kernel_module_forced_unload": 1,
        'nat_rules{backend="legacy",family="ipv4"}': None,
        'nat_readable{backend="legacy",family="ipv4"}': 0,
    },
    alerts=frozenset({"NetfilterCollectorFailing"}),
    standing=frozenset({"NetfilterNatInterfaceMissing"}),
    failing={"nat": "error", "forwarding": "error"},
    check=check,
    network=False,
    needs_boot=True,
    ruins_boot=True,
)
