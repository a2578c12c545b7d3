from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, SILENT, SNAT, UNANSWERED, gateway


def setup(router):
    gateway(router)
    router.sh("ip addr add 203.0.113.30/24 dev wan")
    router.nft(SNAT)


def fault(router):
    _, server = router.namespaces
    router.sh("ip addr del 203.0.113.30/24 dev wan", f"ip -n {server} neigh flush dev eth0")
    router.settle()


SCENARIO = Scenario(
    about="SNAT to an address that the host no longer has.",
    setup=setup,
    fault=fault,
    works={"outbound": (True, False)},
    before={**BEFORE, "nat_missing_address": None},
    after={**SILENT, "nat_missing_address": 1},
    alerts=UNANSWERED | {"NetfilterNatRuleUnmatchable"},
    config=CONFIG,
)
