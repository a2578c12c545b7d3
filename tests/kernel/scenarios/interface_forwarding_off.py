from lab.scenario import Rises, Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.sysctl("net.ipv4.conf.lan.forwarding", 0)


SCENARIO = Scenario(
    about="One interface's own switch is off: what it receives is not forwarded, ip_forward is 1.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **working("nftables"),
        "interface_forwarding_disabled": 1,
        'interface_forwarding_disabled{interface="lan"}': 1,
        'sysctl{name="net.ipv4.ip_forward"}': 1,
        'ip_in_address_errors_total{family="ipv4"}': Rises(20),
    },
    alerts=frozenset({"NetfilterNatInterfaceForwardingDisabled"}),
)
