from lab.scenario import Scenario
from scenarios._hosts import ABSENT, nft_nat, working


def fault(router):
    router.unload_all()


SCENARIO = Scenario(
    about="A boot in which nothing loads the rules: no module is there.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={**ABSENT, 'capability{capability="conntrack"}': 1},
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    needs_boot=True,
)
