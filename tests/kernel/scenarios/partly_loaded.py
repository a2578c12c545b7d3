from lab.scenario import Scenario
from scenarios.clean_machine import check, look

#: Modules that can be there without the one behind them: asking the wrong question loads that.
LOADED = ("ip_tables", "iptable_filter", "ip6_tables", "nf_conntrack", "nf_tables")


def setup(router):
    router.run("modprobe -a " + " ".join(LOADED))
    router.seen = look()


SCENARIO = Scenario(
    about="A machine with a part of the modules is scraped: no other is loaded, no table made.",
    setup=setup,
    before={"conntrack_present": 1, 'conntrack_tracking{family="ipv4"}': None},
    after={"conntrack_netlink_available": 0, 'nat_rules{family="ipv4"}': 0},
    check=check,
    network=False,
    needs_boot=True,
)
