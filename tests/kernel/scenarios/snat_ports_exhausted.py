from lab.scenario import Rises, Scenario
from scenarios._hosts import NFT_MASQUERADE, probed

ONE = NFT_MASQUERADE.replace("masquerade", "meta l4proto udp snat to 203.0.113.1:2000-2003")
MANY = NFT_MASQUERADE.replace("masquerade", "snat to 203.0.113.1")


def setup(router):
    probed(router)
    router.nft(MANY)


def fault(router):
    router.nft("flush chain ip nat postrouting\n" + ONE)


SCENARIO = Scenario(
    about="All ports of an SNAT rule are taken: new flows fail in a table that is nearly empty.",
    setup=setup,
    fault=fault,
    works={"many": (True, False)},
    before={'conntrack_tracking{family="ipv4"}': 1, "conntrack_insert_failed_total": 0},
    after={
        'conntrack_tracking{family="ipv4"}': 1,
        "conntrack_insert_failed_total": Rises(10),
        "conntrack_nat_collision_total": Rises(10),
    },
    alerts=frozenset({"NetfilterNatPortsExhausted"}),
)
