from lab.scenario import Scenario
from scenarios._hosts import NFT_MASQUERADE, working


def setup(router):
    router.nft(NFT_MASQUERADE)


def fault(router):
    router.run("nft flush ruleset")


BEFORE = {**working("nftables"), 'conntrack_tracking{family="ipv4"}': None}

SCENARIO = Scenario(
    about="nf_conntrack_netlink is not loaded, so tracking cannot be proven: the rules' end can.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before=BEFORE,
    after={
        "conntrack_present": 1,
        "conntrack_netlink_available": 0,
        'conntrack_tracking{family="ipv4"}': None,
        'nat_rules{family="ipv4"}': 0,
    },
    alerts=frozenset({"NetfilterNatRulesGone", "NetfilterConntrackNetlinkMissing"}),
    standing=frozenset({"NetfilterConntrackNetlinkMissing"}),
    needs_boot=True,
)
