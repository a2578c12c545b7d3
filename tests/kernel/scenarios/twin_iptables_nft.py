from lab.scenario import Scenario
from scenarios._hosts import probed, working


def setup(router):
    probed(router)
    router.run("iptables-nft -t nat -A POSTROUTING -o wan -j MASQUERADE")


SCENARIO = Scenario(
    about="A gateway with iptables-nft, whose target is the legacy one.",
    setup=setup,
    works={"out": (True, True)},
    before=working("nftables"),
    after=working("nftables"),
)
