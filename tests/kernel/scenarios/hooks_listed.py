from lab.scenario import Difference, Scenario
from scenarios._hosts import NFT_MASQUERADE, working

PROBED = 'source_status{source="probe_ipv4"}'


def setup(router):
    router.run("modprobe nfnetlink_hook")
    router.nft(NFT_MASQUERADE)


def fault(router):
    router.run("nft flush ruleset")


SCENARIO = Scenario(
    about="nfnetlink_hook is loaded: tracking is read off the hooks, and nothing is sent.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before={**working("nftables"), PROBED: None, 'source_status{source="hooks",status="ok"}': 1},
    after={
        'conntrack_tracking{family="ipv4"}': 0,
        'conntrack_tracking{family="ipv6"}': 0,
        PROBED: None,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    differences=(
        Difference(
            because="nfnetlink_hook came between 5.10 and 6.1, and Debian's 6.1 is built without.",
            applies=lambda version: version < (6, 2),
            skipped=True,
        ),
    ),
    needs_boot=True,
)
