from lab.scenario import Scenario
from scenarios._hosts import UNTRACKED, nft_nat, working


def fault(router):
    router.run("nft flush ruleset")
    router.run("rmmod -f nft_masq")


SCENARIO = Scenario(
    about="The rules are flushed and a module is removed by force: the taint tells until a reboot.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={**UNTRACKED, "kernel_module_forced_unload": 1, 'module_usable{module="nft_masq"}': 0},
    alerts=frozenset({"NetfilterConntrackDisabled", "NetfilterModuleForcedUnload"}),
    needs_boot=True,
    ruins_boot=True,
)
