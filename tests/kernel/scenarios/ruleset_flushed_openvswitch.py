from lab.scenario import AtLeast, Difference, Scenario
from scenarios._hosts import NFT_MASQUERADE, UNTRACKED, working
from scenarios._openvswitch import BRIDGE, uplink

TRACKING = (
    "in_port=LOCAL,ip,actions=ct(commit,zone=1),output:wan",
    "in_port=wan,ip,actions=ct(commit,zone=1),LOCAL",
)


def setup(router):
    uplink(router, *TRACKING)
    router.nft(NFT_MASQUERADE.replace("wan", BRIDGE))


def fault(router):
    router.run("nft flush ruleset")


SCENARIO = Scenario(
    about="The ruleset is flushed, and Open vSwitch goes on tracking the same connections.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={**UNTRACKED, "conntrack_entries": AtLeast(1)},
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    differences=(
        Difference(
            because="Open vSwitch registers the hooks of conntrack (nf_conncount_init until 6.11).",
            applies=lambda version: version < (6, 12),
            after={'conntrack_tracking{family="ipv4"}': 1},
            alerts=frozenset({"NetfilterNatRulesGone"}),
        ),
    ),
    needs_boot=True,
)
