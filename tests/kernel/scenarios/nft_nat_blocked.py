from lab.scenario import Scenario
from scenarios._hosts import NFT_MASQUERADE, NFT_PUBLISHED, nft_published, probed
from scenarios._remedy import follow

RULES = NFT_MASQUERADE + NFT_PUBLISHED


def fault(router):
    # A reboot: the rules are one transaction, and what dnat needs is stopped.
    router.unload_all()
    router.write("/etc/modprobe.d/hardening.conf", "# CIS\ninstall nft_nat /bin/false\n")
    router.run("nft -f -", RULES, check=False)
    probed(router)


SCENARIO = Scenario(
    about="modprobe.d stops nft_nat: a ruleset with one dnat in it is refused as a whole.",
    setup=nft_published,
    fault=fault,
    works={"out": (True, False), "in": (True, False)},
    before={
        'capability_needed{capability="dnat_nftables"}': 1,
        'capability_missing_module{module="nft_nat"}': None,
    },
    after={
        'capability{capability="dnat_nftables"}': 0,
        'capability{capability="masquerade_nftables"}': 1,
        'capability_blocked{capability="dnat_nftables"}': 1,
        'capability_missing_module{capability="dnat_nftables",reason="blocked"}': 1,
        'module_info{module="nft_nat",state="blocked"}': 1,
        'nat_rules{family="ipv4"}': 0,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    check=follow("ConntrackDisabled", flows=("out", "in"), then=lambda router: router.nft(RULES)),
    needs_boot=True,
)
