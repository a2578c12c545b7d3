import os
from pathlib import Path

from lab.scenario import Scenario
from scenarios._hosts import NFT_MASQUERADE, NFT_PUBLISHED, nft_published, probed
from scenarios._remedy import printed

RULES = NFT_MASQUERADE + NFT_PUBLISHED
FILE = Path("/lib/modules", os.uname().release, "kernel/net/netfilter/nft_nat.ko")


def fault(router):
    router.unload_all()
    router.hide(str(FILE))
    router.run("nft -f -", RULES, check=False)
    probed(router)


def check(router):
    """Install the package again, which is what the remedy says, and load the rules."""
    lines = printed("nat: {ipv4: required}", "ConntrackDisabled")
    named = [line for line in lines if "nft_nat" in line and "absent on the disk" in line]
    advice = [line for line in lines if "install the package of this kernel again" in line]
    if not named or not advice:
        return [f"the remedy does not name what is missing: {lines}"]
    aside, path = router.hidden.pop()
    aside.rename(path)
    router.nft(RULES)
    return [f"no {kind}" for kind in ("out", "in") if not router.flows(kind, expected=True)]


SCENARIO = Scenario(
    about="modules.dep names nft_nat.ko and the disk lacks it: a ruleset with a dnat is refused.",
    setup=nft_published,
    fault=fault,
    works={"out": (True, False), "in": (True, False)},
    before={'capability{capability="dnat_nftables"}': 1},
    after={
        'capability{capability="dnat_nftables"}': 0,
        'capability_missing_module{capability="dnat_nftables",module="nft_nat",reason="absent"}': 1,
        'module_info{module="nft_nat",state="absent"}': 1,
        'nat_rules{family="ipv4"}': 0,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    check=check,
    needs_boot=True,
)
