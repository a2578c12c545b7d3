from lab.scenario import Difference, Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.sysctl("net.netfilter.nf_conntrack_max", 0)


SCENARIO = Scenario(
    about="The limit is 0: no limit at all, nothing stops the table from taking all memory.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("nftables"),
    after={**working("nftables"), "conntrack_entries_limit": 0},
    alerts=frozenset({"NetfilterConntrackUnlimited"}),
    differences=(
        Difference(
            because="7.2 refuses to set it to 0.",
            applies=lambda version: version >= (7, 0),
            skipped=True,
        ),
    ),
    needs_boot=True,
)
