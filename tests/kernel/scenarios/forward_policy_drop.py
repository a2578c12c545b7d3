from lab.scenario import AtLeast, Difference, Rises, Scenario
from scenarios._hosts import nft_nat, working

FILTER = """
table ip filter {
  chain forward { type filter hook forward priority 0; policy drop; }
}
"""


def setup(router):
    nft_nat(router)
    router.nft(FILTER.replace("drop", "accept"))


def fault(router):
    router.nft(FILTER)


SCENARIO = Scenario(
    about="The FORWARD policy becomes drop: rules and tracking are fine, nothing leaves.",
    setup=setup,
    fault=fault,
    works={"bulk": (True, True), "out": (True, False)},
    before={**working("nftables"), 'forward_policy_drop{backend="nftables",family="ipv4"}': 0},
    after={
        **working("nftables"),
        'forward_policy_drop{backend="nftables",family="ipv4"}': 1,
        'forward_blocked{backend="nftables",family="ipv4",interface="lan"}': 1,
        'ip_forwarded_total{family="ipv4"}': Rises(1000),
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
