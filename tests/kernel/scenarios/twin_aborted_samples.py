import time

from lab.router import DESTINATIONS, SOURCES
from lab.scenario import Scenario
from netfilter_exporter.kernel.conntrack.ctnetlink import IPCTNL_MSG_CT_GET
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, nfgenmsg
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket
from scenarios._flows import CONFIG, SLOW, gateway
from scenarios._hosts import working

_SAMPLES = 700  #: before each scrape: about ten thousand in all


def meanwhile(router, _):
    """Begin to list the flow table and give up, as a sample does, while flows come and go."""
    router.client.outbound(SOURCES, DESTINATIONS, 15, 0.1)
    for number in range(_SAMPLES):
        connection = Connection(NetlinkSocket(NETLINK_NETFILTER), time.monotonic() + 10)
        connection.head("ctnetlink CT_GET", IPCTNL_MSG_CT_GET, nfgenmsg(0), lambda taken: taken > 0)
        connection.close()
        if number % 100 == 99:
            router.run("conntrack -F", check=False)


def check(router):
    """Remove the modules, which an entry that is still held would prevent."""
    router.unload_all()
    held = router.modules() & {"nf_conntrack", "nf_conntrack_netlink", "nf_nat"}
    return [f"{module} cannot be removed" for module in sorted(held)]


SCENARIO = Scenario(
    about="Ten thousand samples of the flow table are given up midway; its module can be removed.",
    setup=gateway,
    meanwhile=meanwhile,
    works={"out": (True, True)},
    before=working("nftables"),
    after=working("nftables"),
    config=CONFIG,
    check=check,
    dense=True,
    differences=(SLOW,),
    needs_boot=True,
)
