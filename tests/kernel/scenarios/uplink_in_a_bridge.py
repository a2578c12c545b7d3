from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

UNMATCHABLE = 'nat_unmatchable_rules{reason="bridge_port"}'


def fault(router):
    router.sh(
        "ip link add br0 type bridge",
        "ip link set wan master br0",
        "ip link set br0 up",
        "ip addr flush dev wan",
        "ip addr add 203.0.113.1/24 dev br0",
    )


SCENARIO = Scenario(
    about="The uplink becomes a port of a bridge; masquerade still names the port.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before={**working("nftables"), UNMATCHABLE: None},
    after={UNMATCHABLE: 1, "nat_matchable_source_rules": 0},
    alerts=frozenset({"NetfilterNatRuleUnmatchable"}),
)
