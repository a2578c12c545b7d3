from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.sh("ip link set wan down", "ip link set wan name wan0", "ip link set wan0 up")


SCENARIO = Scenario(
    about="The interface that the rule names gets another name, as after an upgrade.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **working("nftables"),
        "nat_missing_interface": 1,
        'nat_missing_interface{interface="wan",family="ipv4",chain="postrouting"}': 1,
    },
    alerts=frozenset({"NetfilterNatInterfaceMissing"}),
)
