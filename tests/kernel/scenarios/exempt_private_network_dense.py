from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, LOST, UNTRANSLATED, dense_gateway


def fault(router):
    router.run("nft insert rule ip nat postrouting ip saddr 10.0.0.0/8 accept")
    router.settle()


SCENARIO = Scenario(
    about="The same where the table is dense, and read through ctnetlink.",
    setup=dense_gateway,
    fault=fault,
    works={"outbound": (True, False)},
    before=BEFORE,
    after=LOST,
    alerts=UNTRANSLATED,
    config=CONFIG,
)
