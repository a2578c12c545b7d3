from lab.scenario import Scenario
from scenarios._hosts import nft_nat, unreached


def fault(router):
    router.run("nft insert rule ip nat postrouting drop")


SCENARIO = Scenario(
    about="drop stands before masquerade, which only native nftables allows.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=unreached("nftables", "postrouting", "postrouting", 0),
    after={
        **unreached("nftables", "postrouting", "postrouting", 1),
        # The datagram of the probe is dropped too: what is left is that rules imply tracking.
        'source_status{source="probe_ipv4",status="inconclusive"}': 1,
    },
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
