from lab.scenario import Scenario
from scenarios._hosts import NFT_MASQUERADE, nft_nat, probed, working
from scenarios._remedy import follow


def fault(router):
    router.unload_all()
    router.write("/etc/modprobe.d/hardening.conf", "blacklist nft-masq\n")
    router.run("nft -f -", NFT_MASQUERADE, check=False)
    probed(router)


SCENARIO = Scenario(
    about="blacklist nft_masq: only an alias loads it, and masquerade is refused.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        'capability{capability="masquerade_nftables"}': 0,
        'capability_blocked{capability="masquerade_nftables"}': 1,
        'module_info{module="nft_masq",state="blocked"}': 1,
        'nat_rules{family="ipv4"}': 0,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    check=follow("ConntrackDisabled", then=lambda router: router.nft(NFT_MASQUERADE)),
    needs_boot=True,
)
