from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, UNANSWERED, Rises, births, gateway


def setup(router):
    gateway(router)
    router.sh("ip route add default via 203.0.113.2")
    router.nft("table ip raw { chain pre { type filter hook prerouting priority raw; }; }")


def fault(router):
    router.nft('add rule ip raw pre iifname "lan" ct zone set 5')
    router.settle()


SCENARIO = Scenario(
    about="A conntrack zone is set at one interface: replies are looked up in another.",
    setup=setup,
    fault=fault,
    works={"outbound": (True, False)},
    before={**BEFORE, "nat_split_zone": None},
    after={births("source", "no"): Rises(30), 'nat_split_zone{interface="lan"}': 1},
    alerts=UNANSWERED | {"NetfilterNatZoneSplit"},
    config=CONFIG,
)
