from lab.scenario import Scenario

MODULES = ("nf_conntrack_netlink", "nf_nat", "iptable_nat", "nft_chain_nat", "nft_masq")


def setup(router):
    router.run("modprobe -a " + " ".join(MODULES))


HEALTHY = {
    "conntrack_present": 1,
    'conntrack_tracking{family="ipv4"}': 0,
    'nat_rules{family="ipv4"}': 0,
    'capability_needed{capability="nat"}': 0,
}

SCENARIO = Scenario(
    about="Everything is loaded and no rule is there: nothing is tracked, and nobody expected it.",
    setup=setup,
    works={"host": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
    needs_boot=True,
)
