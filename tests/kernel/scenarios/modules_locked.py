from lab.scenario import Scenario
from scenarios._hosts import ABSENT, NFT_MASQUERADE, nft_nat, working


def fault(router):
    router.unload_all()
    router.sysctl("kernel.modules_disabled", 1)
    router.run("nft -f -", NFT_MASQUERADE, check=False)


SCENARIO = Scenario(
    about="kernel.modules_disabled is set before anything was loaded: nothing can be any more.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **ABSENT,
        "kernel_modules_locked": 1,
        'capability{capability="conntrack"}': 0,
        'capability{capability="nat"}': 0,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    needs_boot=True,
    ruins_boot=True,
)
