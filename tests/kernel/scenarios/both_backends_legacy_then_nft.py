from lab.scenario import Scenario
from scenarios._hosts import NFT_MASQUERADE, legacy_nat, rules, working


def fault(router):
    router.nft(NFT_MASQUERADE)


SCENARIO = Scenario(
    about="A second backend translates too: the one that was registered last decides.",
    setup=legacy_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("legacy"),
    after={
        **working("legacy"),
        'nat_forwarded_rules{family="ipv4"}': 2,
        rules("nftables", "masquerade"): 1,
    },
    alerts=frozenset({"NetfilterNatBackendsMixed"}),
)
