from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, IDLE, LOST, UNTRANSLATED, gateway


def fault(router):
    router.nft(
        """
flush chain ip nat postrouting
add rule ip nat postrouting oifname "wan" meta mark 0x7 counter masquerade
"""
    )
    router.settle()


SCENARIO = Scenario(
    about="Masquerade waits for a mark that nothing sets.",
    setup=gateway,
    fault=fault,
    works={"outbound": (True, False)},
    before=BEFORE,
    after=LOST,
    alerts=UNTRANSLATED,
    inhibited=IDLE,
    config=CONFIG,
    dense=True,
)
