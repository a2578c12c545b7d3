import time

from lab.scenario import AtLeast, Difference, Rises, Scenario, Still
from scenarios._flows import CONFIG, COUNTED, COUNTED_MASQUERADE, HITS
from scenarios._hosts import probed, working

FILTER = """
table ip filter {
  chain forward { type filter hook forward priority 0; policy drop; }
}
"""


def setup(router):
    probed(router)
    router.nft(COUNTED_MASQUERADE)
    router.nft(FILTER.replace("drop", "accept"))


def fault(router):
    router.nft(FILTER)
    time.sleep(4)  # until counters and flows are read again: births of before end with the hits


SCENARIO = Scenario(
    about="The FORWARD policy becomes drop: rules and tracking are fine, nothing leaves.",
    setup=setup,
    fault=fault,
    config=CONFIG,
    works={"bulk": (True, True), "out": (True, False)},
    before={
        **working("nftables"),
        COUNTED: 1,
        'forward_policy_drop{backend="nftables",family="ipv4"}': 0,
    },
    after={
        **working("nftables"),
        'forward_policy_drop{backend="nftables",family="ipv4"}': 1,
        'forward_blocked{backend="nftables",family="ipv4",interface="lan"}': 1,
        'ip_forwarded_total{family="ipv4"}': Rises(1000),
        HITS: Still(),
        COUNTED: 1,
    },
    alerts=frozenset({"NetfilterForwardBlocked"}),
    differences=(
        Difference(
            because="Before 6.7 ForwDatagrams counts behind the FORWARD hook, and OutTransmits is"
            " not there: what is dropped does not show, only the policy does.",
            applies=lambda version: version < (6, 7),
            after={'ip_forwarded_total{family="ipv4"}': AtLeast(1)},
        ),
    ),
)
