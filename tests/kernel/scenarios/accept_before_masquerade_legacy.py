from lab.scenario import Scenario
from scenarios._hosts import legacy_nat


def fault(router):
    router.run("iptables-legacy -t nat -I POSTROUTING -j ACCEPT")


HIDDEN = 'nat_unreachable_rules{backend="legacy",chain="POSTROUTING",hook="postrouting"}'

SCENARIO = Scenario(
    about="ACCEPT stands before MASQUERADE in iptables-legacy: nothing is translated.",
    setup=legacy_nat,
    fault=fault,
    works={"out": (True, False)},
    before={'conntrack_tracking{family="ipv4"}': 1, HIDDEN: 0, "nat_unreachable_rules": 0},
    after={
        'conntrack_tracking{family="ipv4"}': 1,
        HIDDEN: 1,
        "nat_unreachable_rules": 1,
        'forwarding_enabled{family="ipv4"}': 1,
    },
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
