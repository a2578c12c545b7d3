from lab.scenario import Scenario
from scenarios._hosts import nft_nat


def fault(router):
    router.run("nft insert rule ip nat postrouting drop")


HIDDEN = 'nat_unreachable_rules{backend="nftables",chain="postrouting",hook="postrouting"}'

SCENARIO = Scenario(
    about="drop stands before masquerade, which only native nftables allows.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before={'conntrack_tracking{family="ipv4"}': 1, HIDDEN: 0, "nat_unreachable_rules": 0},
    after={
        # The datagram of the probe is dropped too.
        'conntrack_tracking{family="ipv4"}': None,
        'source_status{source="probe_ipv4",status="inconclusive"}': 1,
        HIDDEN: 1,
        "nat_unreachable_rules": 1,
        'forwarding_enabled{family="ipv4"}': 1,
    },
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
