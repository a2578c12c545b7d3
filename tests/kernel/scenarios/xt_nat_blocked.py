from lab.scenario import Scenario
from scenarios._hosts import probed
from scenarios._remedy import follow

SNAT = "iptables-legacy -t nat -A POSTROUTING -o wan -j SNAT --to-source 203.0.113.1"


def setup(router):
    probed(router)
    router.run(SNAT)


def fault(router):
    router.unload_all()
    router.write("/etc/modprobe.d/hardening.conf", "install xt_nat /bin/true\n")
    router.run(SNAT, check=False)
    probed(router)


SCENARIO = Scenario(
    about="modprobe.d stops xt_nat: iptables-legacy loads its table, and no SNAT rule.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before={'capability_needed{capability="snat_legacy"}': 1},
    after={
        'capability{capability="snat_legacy"}': 0,
        'capability{capability="nat_legacy_ipv4"}': 1,
        'capability_missing_module{capability="snat_legacy",module="xt_nat",reason="blocked"}': 1,
        'nat_rules{family="ipv4"}': 0,
    },
    alerts=frozenset({"NetfilterConntrackDisabled"}),
    check=follow("ConntrackDisabled", then=lambda router: router.run(SNAT)),
    needs_boot=True,
)
