from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

SCENARIO = Scenario(
    about="NAT for IPv4 alone: IPv6 is forwarded untracked, and that is healthy.",
    setup=nft_nat,
    works={"out": (True, True)},
    before={**working("nftables"), 'conntrack_tracking{family="ipv6"}': 0},
    after={
        **working("nftables"),
        'conntrack_tracking{family="ipv6"}': 0,
        'forwarding_enabled{family="ipv6"}': 1,
    },
)
