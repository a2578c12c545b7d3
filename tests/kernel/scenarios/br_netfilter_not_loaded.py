from lab.bridge import PODS, SERVICE
from lab.scenario import Scenario
from scenarios._hosts import probed
from scenarios._remedy import follow

KEY = "net.bridge.bridge-nf-call-iptables"
RULES = f"""
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority -100;
    ip daddr {SERVICE} dnat to {PODS[1]}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    ip saddr 10.94.0.0/24 ip daddr != 10.94.0.0/24 masquerade
  }}
}}
"""


def setup(router):
    """A Kubernetes node: a service on the same bridge as the pod that asks."""
    probed(router)
    router.run("modprobe br_netfilter")
    router.write("/etc/sysctl.d/k8s.conf", f"{KEY} = 1\n")
    router.bridge()
    router.nft(RULES)


def fault(router):
    # A reboot after which nothing loads it. systemd-sysctl has said so in its log.
    router.unload("br_netfilter")
    router.run("conntrack -F")


SCENARIO = Scenario(
    about="sysctl.d wants bridged packets translated, and br_netfilter is not loaded after a boot.",
    setup=setup,
    fault=fault,
    works={"bridged": (True, False)},
    before={
        f'sysctl_mismatch{{name="{KEY}"}}': 0,
        'bridge_netfilter{family="ipv4"}': 1,
        'nat_bypassing_bridges{family="ipv4"}': 0,
        'capability_needed{capability="bridge_netfilter"}': 1,
    },
    after={
        f'sysctl_mismatch{{name="{KEY}"}}': 1,
        'bridge_netfilter{family="ipv4"}': 0,
        'nat_bypassing_bridges{family="ipv4"}': 1,
    },
    alerts=frozenset({"NetfilterSysctlNotApplied", "NetfilterBridgeNatBypassed"}),
    check=follow("SysctlNotApplied", flows=("bridged",)),
    needs_boot=True,
)
