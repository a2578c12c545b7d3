from lab.scenario import Scenario
from scenarios._hosts import UNTRACKED, nft_nat, working


def setup(router):
    nft_nat(router)


def fault(router):
    router.run("nft flush ruleset")


SCENARIO = Scenario(
    about="Podman stops its last container and takes its rules away, as it does every night.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    meant=True,
    before=working("nftables"),
    after=UNTRACKED,
    config="nat: none\n",
)
