from lab.scenario import Scenario
from scenarios._hosts import nft_nat, rules, working

PORTS = range(9000, 9020)


def table(ports):
    lines = [f"    tcp dport {port} dnat to 10.0.1.2:7" for port in ports]
    head = "table ip ports {\n  chain prerouting {\n    type nat hook prerouting priority -99;"
    return "\n".join([head, *lines, "  }", "}"])


def setup(router):
    nft_nat(router)
    router.nft(table(PORTS))


def fault(router):
    router.nft("flush chain ip ports prerouting\n" + table(PORTS[:8]))


BEFORE = {**working("nftables"), 'nat_forwarded_rules{family="ipv4"}': 21}

SCENARIO = Scenario(
    about="12 of 21 rules are lost: what is left works.",
    setup=setup,
    fault=fault,
    works={"out": (True, True)},
    before={**BEFORE, rules("nftables", "dnat"): 20},
    after={
        **BEFORE,
        'nat_forwarded_rules{family="ipv4"}': 9,
        rules("nftables", "dnat"): 8,
    },
    alerts=frozenset({"NetfilterNatRulesLost"}),
)
