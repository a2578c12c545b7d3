from lab.scenario import Difference, Scenario
from scenarios._hosts import ABSENT, NFT_MASQUERADE, nft_nat, working


def fault(router):
    router.unload_all()
    router.hide("/lib/modules")
    router.run("nft -f -", NFT_MASQUERADE, check=False)


SCENARIO = Scenario(
    about="/lib/modules is gone, as after an upgrade without a reboot: nothing can be loaded.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before={**working("nftables"), "kernel_modules_directory_present": 1},
    after={
        **ABSENT,
        "kernel_modules_directory_present": 0,
        'capability{capability="conntrack"}': 0,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    differences=(
        Difference(
            because="Since 2025 Debian has a kernel's configuration in that folder alone: without"
            " it nothing tells a module from a part of the kernel.",
            applies=lambda version: version >= (7, 0),
            after={
                'capability{capability="conntrack"}': None,
                'module_usable{module="nf_conntrack"}': None,
                'nat_readable{backend="nftables",family="ipv4"}': 0,
                'nat_readable{family="ipv4"}': 1,
            },
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    ),
    needs_boot=True,
)
