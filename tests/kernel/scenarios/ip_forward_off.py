from lab.scenario import Rises, Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.sysctl("net.ipv4.ip_forward", 0)


SCENARIO = Scenario(
    about="ip_forward is disabled: rules and tracking are fine, nothing is forwarded.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **working("nftables"),
        'forwarding_enabled{family="ipv4"}': 0,
        'ip_in_address_errors_total{family="ipv4"}': Rises(20),
    },
    alerts=frozenset({"NetfilterNatForwardingDisabled"}),
)
