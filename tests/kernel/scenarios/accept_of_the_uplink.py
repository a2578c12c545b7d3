from lab.scenario import Scenario
from scenarios._hosts import nft_nat, unreached


def fault(router):
    router.run("nft insert rule ip nat postrouting oifname wan accept")


SCENARIO = Scenario(
    about="An accept with the match of masquerade stands before it: nothing is translated.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=unreached("nftables", "postrouting", "postrouting", 0),
    after=unreached("nftables", "postrouting", "postrouting", 1),
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
