from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.hide("/lib/modules")


AFTER = {
    name: value for name, value in working("nftables").items() if not name.startswith("capability")
}

SCENARIO = Scenario(
    about="/lib/modules is gone, and all that is needed is loaded: NAT works, nobody is paged.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("nftables"),
    after={**AFTER, "kernel_modules_directory_present": 0},
    needs_boot=True,
)
