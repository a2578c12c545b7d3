from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.run("iptables-nft -t mangle -A FORWARD -i lan -j NFQUEUE --queue-num 7")


SCENARIO = Scenario(
    about="A rule hands what is forwarded to a queue, and no program listens: nothing leaves.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **working("nftables"),
        'forward_blocked{backend="nftables",family="ipv4",interface="lan"}': 1,
    },
    alerts=frozenset({"NetfilterForwardBlocked"}),
)
