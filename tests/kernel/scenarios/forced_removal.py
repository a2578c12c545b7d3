from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

#: What a LOG rule holds; it can go by force, for nothing calls it while no packet is logged.
LOGGERS = ("nf_log_syslog", "nf_log_ipv6")


def setup(router):
    nft_nat(router)
    router.run("ip6tables-legacy -A FORWARD -o none0 -j LOG")


def fault(router):
    router.run("nft flush ruleset")
    (logger,) = router.modules().intersection(LOGGERS)
    router.run(f"rmmod -f {logger}")


SCENARIO = Scenario(
    about="The rules are flushed, a module is removed by force: the taint shows it until reboot.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        "conntrack_present": 1,
        "kernel_module_forced_unload": 1,
        'conntrack_tracking{family="ipv4"}': 0,
        'nat_rules{family="ipv4"}': 0,
    },
    # It tells NetfilterModuleForcedUnload too, for which one page is enough.
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    needs_boot=True,
    ruins_boot=True,
)
