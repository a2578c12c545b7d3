from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

RAW = """
table ip raw {
  chain output {
    type filter hook output priority -300; policy accept;
    oifname "lo" notrack
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname "lo" notrack
  }
}
table ip6 raw {
  chain output {
    type filter hook output priority -300; policy accept;
    oifname "lo" ct zone set 5
  }
}
"""


def setup(router):
    nft_nat(router)
    router.nft(RAW)


HEALTHY = {
    **working("nftables"),
    'conntrack_tracking{family="ipv4"}': None,
    'source_status{source="probe_ipv4",status="inconclusive"}': 1,
}

SCENARIO = Scenario(
    about="notrack and a zone on loopback, as gateways have: the probe proves nothing there.",
    setup=setup,
    # For information: there are such rules, and what they are for is not ours to judge.
    alerts=frozenset({"NetfilterNotrackRules"}),
    standing=frozenset({"NetfilterNotrackRules"}),
    works={"out": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
)
