from lab.scenario import Scenario
from scenarios._hosts import NFT_MASQUERADE, probed, working

RULES = NFT_MASQUERADE + NFT_MASQUERADE.replace("table ip nat", "table ip6 nat")


def setup(router):
    probed(router)
    router.sysctl("net.ipv6.conf.all.forwarding", 0)
    router.nft(RULES)


HEALTHY = {
    **working("nftables"),
    'nat_forwarded_rules{family="ipv6"}': 1,
    'conntrack_tracking{family="ipv6"}': 1,
    'forwarding_enabled{family="ipv6"}': 0,
}

SCENARIO = Scenario(
    about="An IPv4-only node: kube-proxy masquerades IPv6 too, which is not forwarded.",
    setup=setup,
    works={"out": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
)
