from lab.scenario import AtLeast, Scenario
from scenarios._hosts import UNTRACKED, nft_nat, working


def fault(router):
    router.run("nft flush ruleset")


SCENARIO = Scenario(
    about="The ruleset is flushed while flows are known: their entries linger, nothing is tracked.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={**UNTRACKED, "conntrack_entries": AtLeast(1)},
    alerts=frozenset({"NetfilterConntrackDisabled"}),
)
