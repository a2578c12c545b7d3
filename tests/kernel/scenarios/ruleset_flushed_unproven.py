from lab.scenario import Scenario
from scenarios._hosts import NFT_MASQUERADE, working


def setup(router):
    router.nft(NFT_MASQUERADE)


def fault(router):
    router.run("nft flush ruleset")


BEFORE = {
    **working("nftables"),
    "conntrack_netlink_available": 0,
    'source_status{source="implied_ipv4",status="ok"}': 1,
}

SCENARIO = Scenario(
    about="nf_conntrack_netlink is not loaded: rules imply tracking, and their end can be proven.",
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
    needs_boot=True,
)
