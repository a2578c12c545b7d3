from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, LOST, UNTRANSLATED, gateway


def fault(router):
    router.nft(
        """
flush chain ip nat postrouting
add set ip nat clients { type ipv4_addr; flags interval; }
add rule ip nat postrouting oifname "wan" ip saddr @clients masquerade
"""
    )
    router.settle()


SCENARIO = Scenario(
    about="Masquerade matches a set that is empty.",
    setup=gateway,
    fault=fault,
    works={"outbound": (True, False)},
    before=BEFORE,
    after=LOST,
    alerts=UNTRANSLATED,
    config=CONFIG,
)
