from lab.scenario import Scenario
from scenarios._hosts import UNTRACKED, legacy_nat, working


def fault(router):
    router.run("iptables-legacy -t nat -F")


SCENARIO = Scenario(
    about="iptables -t nat -F: the table stays, empty, and tracking ends with its last rule.",
    setup=legacy_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("legacy"),
    after=UNTRACKED,
    alerts=frozenset({"NetfilterConntrackDisabled"}),
)
