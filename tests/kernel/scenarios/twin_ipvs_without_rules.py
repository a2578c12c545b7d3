from lab.router import CLIENT, ROUTER_WAN
from lab.scenario import Scenario
from scenarios.ipvs_untracked import service


def setup(router):
    """A balancer that translates destinations alone, with IPVS and no rule."""
    service(router)
    _, server = router.namespaces
    router.run(f"ip -n {server} route add {CLIENT}/32 via {ROUTER_WAN}")


SCENARIO = Scenario(
    about="IPVS does the NAT, without a rule, on a host that must NAT.",
    setup=setup,
    works={"service": (True, True)},
    before={'nat_ipvs{family="ipv4"}': 1, 'nat_rules{family="ipv4"}': 0},
    after={'nat_ipvs{family="ipv4"}': 1, 'nat_rules{family="ipv4"}': 0},
    config="nat: {ipv4: required}\n",
    needs_boot=True,
)
