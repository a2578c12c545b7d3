from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, SILENT, UNANSWERED, gateway

#: The server stays there for what scrapes.
DROP = """
table ip dead {
  chain input {
    type filter hook input priority 0; policy accept;
    ip daddr 203.0.113.16/28 drop
  }
}
"""


def fault(router):
    _, server = router.namespaces
    router.run(f"ip netns exec {server} nft -f -", DROP)
    router.settle()


SCENARIO = Scenario(
    about="The upstream is dead: nothing replies to anything.",
    setup=gateway,
    fault=fault,
    works={"outbound": (True, False)},
    before=BEFORE,
    after=SILENT,
    alerts=UNANSWERED,
    config=CONFIG,
    dense=True,
)
