from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.sysctl("net.ipv4.ip_forward", 0)
    router.sysctl("net.ipv4.conf.lan.forwarding", 1)
    router.sysctl("net.ipv4.conf.wan.forwarding", 1)


SCENARIO = Scenario(
    about="ip_forward is 0 and both interfaces' own switches are on: it forwards, and is healthy.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("nftables"),
    after={**working("nftables"), 'sysctl{name="net.ipv4.ip_forward"}': 0},
)
