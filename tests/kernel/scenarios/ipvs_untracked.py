from lab.router import SERVER, VIRTUAL
from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working
from scenarios._remedy import follow


def service(router):
    """Have IPVS translate VIRTUAL to the server."""
    router.run("modprobe ip_vs")
    router.sh("ip route del 198.51.100.1/32", f"ip addr add {VIRTUAL}/32 dev lo")
    for kind in ("-t", "-u"):
        router.run(f"ipvsadm -A {kind} {VIRTUAL}:7 -s rr")
        router.run(f"ipvsadm -a {kind} {VIRTUAL}:7 -r {SERVER}:7 -m")


def setup(router):
    nft_nat(router)
    service(router)
    router.sysctl("net.ipv4.vs.conntrack", 1)


def fault(router):
    router.sysctl("net.ipv4.vs.conntrack", 0)


SCENARIO = Scenario(
    about="net.ipv4.vs.conntrack falls to 0: rules no longer translate what IPVS forwards.",
    setup=setup,
    fault=fault,
    works={"service": (True, False), "out": (True, True)},
    before={**working("nftables"), 'nat_ipvs{family="ipv4"}': 1},
    after={**working("nftables"), 'nat_ipvs{family="ipv4"}': 1},
    alerts=frozenset({"NetfilterIpvsUntracked"}),
    check=follow("IpvsUntracked", flows=("service",)),
    needs_boot=True,
)
