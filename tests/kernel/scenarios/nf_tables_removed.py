from lab.scenario import Scenario

FILTER = """
table ip filter {
  chain forward { type filter hook forward priority 0; policy drop; }
}
"""
POLICY = 'forward_policy_drop{backend="nftables",family="ipv4"}'


def setup(router):
    router.nft(FILTER)


def fault(router):
    router.unload("nf_tables")


SCENARIO = Scenario(
    about="nf_tables is removed under a ruleset without rules: a policy is gone without a word.",
    setup=setup,
    fault=fault,
    works={"host": (True, True)},
    before={POLICY: 1, "nftables_generation": 2, 'module_usable{module="nf_tables"}': 1},
    after={
        POLICY: 0,
        "nftables_generation": None,
        'module_usable{module="nf_tables"}': 0,
        'nat_readable{family="ipv4"}': 2,
        "conntrack_present": 0,
    },
    needs_boot=True,
)
