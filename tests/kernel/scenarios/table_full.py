from lab.scenario import AtLeast, Rises, Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    # Only entries of connections that live are kept when there is no room.
    router.client.hold("203.0.113.2", 40)
    router.run("conntrack -D -p udp", check=False)
    for state in ("TIME_WAIT", "CLOSE", "CLOSE_WAIT", "FIN_WAIT", "LAST_ACK"):
        router.run(f"conntrack -D -p tcp --state {state}", check=False)
    router.sysctl("net.netfilter.nf_conntrack_max", 20)


SCENARIO = Scenario(
    about="The table is full: new flows are dropped.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **working("nftables"),
        "conntrack_entries": AtLeast(20),
        "conntrack_entries_limit": 20,
        "conntrack_drop_total": Rises(10),
        # No entry for the probe either: what is left is that rules imply tracking.
        'source_status{source="probe_ipv4",status="inconclusive"}': 1,
    },
    alerts=frozenset({"NetfilterConntrackDropping"}),
    needs_boot=True,
)
