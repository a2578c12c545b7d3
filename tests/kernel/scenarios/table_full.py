from lab.scenario import AtLeast, Rises, Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.sysctl("net.netfilter.nf_conntrack_max", 20)
    router.client.flows("203.0.113.2", 9, 100, tcp=False)


SCENARIO = Scenario(
    about="The table is full: new flows are dropped.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **working("nftables"),
        'conntrack_tracking{family="ipv4"}': None,
        "conntrack_entries": AtLeast(20),
        "conntrack_entries_limit": 20,
        "conntrack_drop_total": Rises(10),
        'source_status{source="probe_ipv4",status="inconclusive"}': 1,
    },
    alerts=frozenset({"NetfilterConntrackTableFilling", "NetfilterConntrackDropping"}),
    needs_boot=True,
)
