from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, IDLE, LOST, UNTRANSLATED, gateway


def fault(router):
    router.nft(
        """
flush chain ip nat postrouting
add rule ip nat postrouting ip saddr 192.168.7.0/24 oifname "wan" counter masquerade
"""
    )
    router.settle()


SCENARIO = Scenario(
    about="The LAN was renumbered, and masquerade still names the old one.",
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
