from lab.scenario import Rises, Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.sysctl("net.ipv4.ip_forward", 0)
    router.sysctl("net.ipv4.conf.lan.forwarding", 1)


SCENARIO = Scenario(
    about="ip_forward is 0, the LAN's switch is 1 and the uplink's is 0: replies are dropped.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **working("nftables"),
        "interface_forwarding_disabled": 1,
        'interface_forwarding_disabled{interface="wan"}': 1,
        'sysctl{name="net.ipv4.ip_forward"}': 0,
        'ip_in_address_errors_total{family="ipv4"}': Rises(20),
    },
    alerts=frozenset({"NetfilterNatInterfaceForwardingDisabled"}),
)
