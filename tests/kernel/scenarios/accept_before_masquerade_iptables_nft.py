from lab.scenario import Scenario
from scenarios._hosts import probed, unreached


def setup(router):
    probed(router)
    router.run("iptables-nft -t nat -A POSTROUTING -o wan -j MASQUERADE")


def fault(router):
    router.run("iptables-nft -t nat -I POSTROUTING -j ACCEPT")


SCENARIO = Scenario(
    about="ACCEPT stands before MASQUERADE in iptables-nft: nothing is translated.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before=unreached("nftables", "POSTROUTING", "postrouting", 0),
    after=unreached("nftables", "POSTROUTING", "postrouting", 1),
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
