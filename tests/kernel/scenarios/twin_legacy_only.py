from lab.scenario import Scenario
from scenarios._hosts import legacy_nat, working


def setup(router):
    legacy_nat(router)


SCENARIO = Scenario(
    about="A gateway with iptables-legacy alone.",
    setup=setup,
    works={"out": (True, True)},
    before=working("legacy"),
    after=working("legacy"),
)
