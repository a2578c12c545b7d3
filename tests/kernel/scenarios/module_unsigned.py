import os
from pathlib import Path

from lab.scenario import Scenario
from scenarios._hosts import NFT_MASQUERADE, nft_nat, probed, working
from scenarios._remedy import printed

FILE = Path("/lib/modules", os.uname().release, "kernel/net/netfilter/nft_masq.ko")
SIGNED = b"~Module signature appended~\n"
_FOOTER = 12  # struct module_signature: the last four bytes are the length of the signature


def fault(router):
    # A module of one's own build, and a kernel that demands signatures.
    router.unload_all()
    router.signed = FILE.read_bytes()
    FILE.write_bytes(stripped(router.signed))
    Path("/sys/module/module/parameters/sig_enforce").write_text("1")
    router.run("nft -f -", NFT_MASQUERADE, check=False)
    probed(router)


def stripped(module):
    """Return a module without its signature."""
    assert module.endswith(SIGNED)
    end = len(module) - len(SIGNED)
    length = int.from_bytes(module[end - 4 : end], "big")
    return module[: end - _FOOTER - length]


def check(router):
    lines = printed("nat: {ipv4: required}", "ConntrackDisabled")
    FILE.write_bytes(router.signed)
    if not any("nft_masq: no signature" in line for line in lines):
        return [f"the remedy does not name what is unsigned: {lines}"]
    router.nft(NFT_MASQUERADE)
    return [] if router.flows("out", expected=True) else ["no flows with the signed module"]


SCENARIO = Scenario(
    about="The kernel demands signatures, and nft_masq has none: masquerade is refused.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before={**working("nftables"), "kernel_module_signatures_enforced": None},
    after={
        "kernel_module_signatures_enforced": 1,
        'capability{capability="masquerade_nftables"}': 0,
        'capability_missing_module{module="nft_masq",reason="unsigned"}': 1,
        'module_info{module="nft_masq",state="unsigned"}': 1,
        'nat_rules{family="ipv4"}': 0,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    check=check,
    needs_boot=True,
    ruins_boot=True,
)
