import time

from lab.scenario import Scenario
from scenarios._hosts import probed
from scenarios._remedy import paste, printed

LIFETIME = 4
RULES = """
table ip6 nat {
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "wan" masquerade
  }
}
"""


def setup(router):
    """A router whose own default route comes by router advertisement."""
    probed(router)
    router.nft(RULES)
    router.sysctl("net.ipv6.conf.wan.accept_ra", 2)
    router.advertise(LIFETIME)
    time.sleep(3)


def fault(router):
    router.sysctl("net.ipv6.conf.wan.accept_ra", 1)
    router.remedy = printed("", "RouterAdvertisementsIgnored")  # while the route is there
    for _ in range(LIFETIME):
        router.exporter.scrape()
        time.sleep(1.5)


def check(router):
    """Run the remedy, and wait for the next advertisement."""
    problems = paste(router.remedy[:1])  # the second line is for the next boot
    time.sleep(3)
    if not router.remedy or not router.flows("far6", expected=True):
        problems.append(f"after {router.remedy}: no flows")
    return problems


SCENARIO = Scenario(
    about="A router with accept_ra 1 ignores advertisements: its IPv6 default route has expired.",
    setup=setup,
    fault=fault,
    works={"far6": (True, False)},
    before={"router_advertisements_ignored": None},
    after={'router_advertisements_ignored{interface="wan"}': 1},
    alerts=frozenset({"NetfilterRouterAdvertisementsIgnored"}),
    check=check,
)
