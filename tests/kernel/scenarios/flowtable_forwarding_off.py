from lab.scenario import Rises, Scenario
from scenarios._hosts import nft_nat, working

#: Of the gateway's file: established connections leave the hooks.
FLOWTABLE = """
table ip fastpath {
  flowtable fast { hook ingress priority 0; devices = { lan, wan }; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip protocol { tcp, udp } flow add @fast
  }
}
"""


def setup(router):
    nft_nat(router)
    router.nft(FLOWTABLE)


def fault(router):
    router.sysctl("net.ipv4.ip_forward", 0)


SCENARIO = Scenario(
    about="Forwarding is disabled behind a flowtable: offloaded connections go on, new ones fail.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **working("nftables"),
        'forwarding_enabled{family="ipv4"}': 0,
        'ip_in_address_errors_total{family="ipv4"}': Rises(20),
    },
    alerts=frozenset({"NetfilterNatForwardingDisabled"}),
    needs_boot=True,
)
