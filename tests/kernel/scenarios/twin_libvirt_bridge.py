from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working


def setup(router):
    """A host of virtual machines: bridged packets pass no rule, and none should."""
    nft_nat(router)
    router.bridge()


SCENARIO = Scenario(
    about="Two virtual machines on a bridge of a NAT host: br_netfilter is not wanted.",
    setup=setup,
    works={"out": (True, True)},
    before={**working("nftables"), 'nat_bypassing_bridges{family="ipv4"}': 1},
    after={**working("nftables"), 'nat_bypassing_bridges{family="ipv4"}': 1},
    needs_boot=True,
)
