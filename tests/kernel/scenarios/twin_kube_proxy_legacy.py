from lab.scenario import AtLeast, Scenario
from scenarios._hosts import kube_proxy, probed, rules


def setup(router):
    probed(router)
    router.run("iptables-legacy-restore", kube_proxy(100 if router.emulated else 5000))


HEALTHY = {
    'conntrack_tracking{family="ipv4"}': 1,
    rules("legacy", "dnat"): AtLeast(100),
    rules("legacy", "masquerade"): 1,
    "nat_unreachable_rules": 0,
    "nat_missing_interface": None,
    'forwarding_enabled{family="ipv4"}': 1,
}

SCENARIO = Scenario(
    about="A node with 5 000 services (emulated: 100) of kube-proxy, in iptables-legacy.",
    setup=setup,
    works={"out": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
)
