from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, IDLE, LOST, UNTRANSLATED, gateway


def setup(router):
    gateway(router)
    router.sh("ip route add default via 203.0.113.2")


def fault(router):
    router.sh("ip link add wan2 type veth peer name wan2b", "ip link set wan2 up")
    router.nft(
        """
flush chain ip nat postrouting
add rule ip nat postrouting oifname "wan2" counter masquerade
"""
    )
    router.settle()


SCENARIO = Scenario(
    about="Masquerade names an uplink that exists and that the default route does not use.",
    setup=setup,
    fault=fault,
    works={"outbound": (True, False)},
    before={**BEFORE, 'nat_uncovered_egress{interface="wan"}': 0},
    after={**LOST, 'nat_uncovered_egress{interface="wan"}': 1},
    alerts=UNTRANSLATED | {"NetfilterNatEgressUncovered"},
    inhibited=IDLE,
    config=CONFIG,
)
