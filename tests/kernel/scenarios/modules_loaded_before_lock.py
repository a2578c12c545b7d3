import dataclasses
from pathlib import Path

from lab.scenario import Scenario
from netfilter_exporter.check import commands
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.modules import capabilities
from netfilter_exporter.kernel.modules.reader import ModuleReader
from scenarios._hosts import NFT_MASQUERADE, probed, working
from scenarios._remedy import MODULES_LOAD, REBOOT, paste

NEEDED = ("conntrack", "nat", "nat_nftables", "masquerade_nftables")


def setup(router):
    """Run the remedy of a locked host up to its reboot, and boot as that host would."""
    router.write(MODULES_LOAD, "")
    locked = dataclasses.replace(ModuleReader(Paths()).read(), locked=True)
    names = [module for name in NEEDED for module in capabilities.nearest(locked, name)]
    *lines, reboot = commands.load(locked, names)
    assert reboot == REBOOT, reboot
    assert not paste(lines), lines
    for name in Path(MODULES_LOAD).read_text().split():  # systemd-modules-load
        router.run(f"modprobe {name}")
    probed(router)
    router.sysctl("kernel.modules_disabled", 1)
    router.nft(NFT_MASQUERADE)


SCENARIO = Scenario(
    about="The remedy of a locked host: what modules-load.d names is loaded before the lock.",
    setup=setup,
    works={"out": (True, True)},
    before={**working("nftables"), "kernel_modules_locked": 1},
    after={**working("nftables"), "kernel_modules_locked": 1},
    needs_boot=True,
    ruins_boot=True,
)
