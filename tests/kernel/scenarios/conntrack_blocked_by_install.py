from lab.scenario import Scenario
from scenarios._hosts import ABSENT, NFT_MASQUERADE, nft_nat, working
from scenarios._remedy import follow


def fault(router):
    router.unload_all()
    router.write("/etc/modprobe.d/hardening.conf", "install nf_conntrack /bin/false\n")
    router.run("nft -f -", NFT_MASQUERADE, check=False)


SCENARIO = Scenario(
    about="modprobe.d replaces the loading of nf_conntrack by /bin/false.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        **ABSENT,
        'capability{capability="conntrack"}': 0,
        'capability_blocked{capability="conntrack"}': 1,
        'capability{capability="nat"}': 0,
        'module_info{module="nf_conntrack",state="blocked"}': 1,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    check=follow("ConntrackDisabled", then=lambda router: router.nft(NFT_MASQUERADE)),
    needs_boot=True,
)
