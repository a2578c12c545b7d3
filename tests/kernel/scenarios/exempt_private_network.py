from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, IDLE, LOST, UNTRANSLATED, gateway


def fault(router):
    router.run("nft insert rule ip nat postrouting ip saddr 10.0.0.0/8 accept")
    router.exporter.scrape()  # what matched before the rule was there is known
    router.settle()


SCENARIO = Scenario(
    about="A forgotten exemption accepts the whole LAN before masquerade.",
    setup=gateway,
    fault=fault,
    works={"outbound": (True, False)},
    before=BEFORE,
    after=LOST,
    alerts=UNTRANSLATED,
    inhibited=IDLE,
    config=CONFIG,
)
