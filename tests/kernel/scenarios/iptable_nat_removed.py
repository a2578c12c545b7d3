from lab.scenario import Scenario
from scenarios._hosts import UNTRACKED, legacy_nat, working


def fault(router):
    router.run("iptables-legacy -t nat -F")
    router.run("rmmod iptable_nat")


SCENARIO = Scenario(
    about="iptable_nat is removed, which only an empty table allows.",
    setup=legacy_nat,
    fault=fault,
    works={"out": (True, False)},
    before={**working("legacy"), 'module_usable{module="iptable_nat"}': 1},
    after={**UNTRACKED, 'module_usable{module="iptable_nat"}': 0},
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    needs_boot=True,
)
