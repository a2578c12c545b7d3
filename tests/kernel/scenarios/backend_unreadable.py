from lab.scenario import Scenario
from scenarios._hosts import legacy_nat, working


def fault(router):
    # As a user with CAP_NET_ADMIN alone, who may not read ip_tables_names.
    router.exporter.restart(capabilities=("net_admin",))


SCENARIO = Scenario(
    about="The exporter may no longer read the legacy tables: it serves nothing of them.",
    setup=legacy_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("legacy"),
    after={
        'nat_readable{backend="legacy",family="ipv4"}': 0,
        'nat_readable{backend="nftables"}': 2,
        'nat_rules{backend="legacy",family="ipv4"}': None,
        'nat_forwarded_rules{family="ipv4"}': None,
        'source_status{source="legacy_ipv4",status="denied"}': 1,
        'conntrack_tracking{family="ipv4"}': 1,
    },
    alerts=frozenset({"NetfilterCollectorFailing"}),
    failing={"nat": "denied", "forwarding": "denied", "flows": "denied"},
)
