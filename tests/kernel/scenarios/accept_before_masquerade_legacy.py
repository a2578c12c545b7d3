from lab.scenario import Scenario
from scenarios._hosts import legacy_nat, unreached


def fault(router):
    router.run("iptables-legacy -t nat -I POSTROUTING -j ACCEPT")


SCENARIO = Scenario(
    about="ACCEPT stands before MASQUERADE in iptables-legacy: nothing is translated.",
    setup=legacy_nat,
    fault=fault,
    works={"out": (True, False)},
    before=unreached("legacy", "POSTROUTING", "postrouting", 0),
    after=unreached("legacy", "POSTROUTING", "postrouting", 1),
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
