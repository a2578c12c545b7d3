from lab.scenario import Difference, Scenario
from scenarios._hosts import NFT_MASQUERADE, probed, rules, working


def setup(router):
    probed(router)
    router.sysctl("net.ipv6.conf.all.forwarding", 0)
    router.nft(NFT_MASQUERADE.replace("table ip nat", "table inet nat"))


HEALTHY = {
    **working("nftables"),
    rules("nftables", "masquerade", "ipv6"): 1,
    'forwarding_enabled{family="ipv6"}': 0,
}

SCENARIO = Scenario(
    about="An inet masquerade counts in both families; this router forwards IPv4 alone.",
    setup=setup,
    works={"out": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
    differences=(
        Difference(
            because="inet tables have NAT chains since 5.2.",
            applies=lambda version: version < (5, 2),
            skipped=True,
        ),
    ),
)
