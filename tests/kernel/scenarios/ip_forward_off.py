from lab.scenario import Rises, Scenario
from scenarios._hosts import NFT_MASQUERADE, ipv4_nat


def fault(router):
    router.sysctl("net.ipv4.ip_forward", 0)


SCENARIO = Scenario(
    about="ip_forward is switched off: rules and tracking are fine, nothing is forwarded.",
    setup=lambda router: router.nft(NFT_MASQUERADE),
    fault=fault,
    works={"out": (True, False)},
    before=ipv4_nat("nftables"),
    after={
        **ipv4_nat("nftables"),
        'forwarding_enabled{family="ipv4"}': 0,
        'ip_in_address_errors_total{family="ipv4"}': Rises(20),
    },
    alerts=frozenset({"NetfilterNatForwardingDisabled"}),
)
