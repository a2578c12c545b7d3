from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, LOST, UNTRANSLATED, gateway


def fault(router):
    router.sh("ip link add wan2 type veth peer name wan2b", "ip link set wan2 up")
    router.nft(
        """
flush chain ip nat postrouting
add rule ip nat postrouting oifname "wan2" masquerade
"""
    )
    router.settle()


SCENARIO = Scenario(
    about="Masquerade names an uplink that exists and that the default route does not use.",
    setup=gateway,
    fault=fault,
    works={"outbound": (True, False)},
    before=BEFORE,
    after=LOST,
    alerts=UNTRANSLATED,
    config=CONFIG,
)
