from lab.scenario import Scenario
from scenarios._hosts import LEGACY_MASQUERADE, nft_nat, rules, working


def fault(router):
    router.run(LEGACY_MASQUERADE)


SCENARIO = Scenario(
    about="A second backend translates too: the one that was registered last decides.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("nftables"),
    after={
        **working("nftables"),
        'nat_forwarded_rules{family="ipv4"}': 2,
        rules("legacy", "masquerade"): 1,
    },
    alerts=frozenset({"NetfilterNatBackendsMixed"}),
)
