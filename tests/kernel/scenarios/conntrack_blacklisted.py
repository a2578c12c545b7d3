from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.unload_all()
    router.write("/etc/modprobe.d/hardening.conf", "blacklist nf_conntrack\n")
    nft_nat(router)


SCENARIO = Scenario(
    about="blacklist stops aliases alone: nf_nat still brings nf_conntrack, and all is well.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("nftables"),
    after=working("nftables"),
    needs_boot=True,
)
