from pathlib import Path

from lab.router import loaded
from lab.scenario import Scenario

COLLECTORS = ("conntrack", "forwarding", "modules", "nat", "sysctl", "tracking")
LISTS = ("ip_tables_names", "ip6_tables_names")


def look():
    """Return what a look at the host must not change, and what can be seen without changing it."""
    lists = {name: Path("/proc/net", name) for name in LISTS}
    return {
        "modules": Path("/proc/modules").read_text() if Path("/proc/modules").exists() else "",
        **{name: path.read_text() if path.exists() else None for name, path in lists.items()},
        "taint": Path("/proc/sys/kernel/tainted").read_text(),
        "sysctls": sorted(str(path) for path in Path("/proc/sys/net/netfilter").glob("*")),
    }


def setup(router):
    router.seen = look()


def check(router):
    problems = []
    for names in ((), *((name,) for name in COLLECTORS)):
        for _ in range(100):
            router.exporter.scrape(*names)
        now = look()
        problems += [
            f"{names or 'all collectors'}: {key}: {router.seen[key]!r} -> {now[key]!r}"
            for key in now
            if now[key] != router.seen[key]
        ]
    if not loaded():
        return problems
    # Only now, for these load nf_tables: tables and hooks must not be there.
    for command in ("nft list ruleset", "nft list hooks"):
        said = router.run(command, check=False).strip()
        hooks = [line for line in said.splitlines() if line.strip(" {}")]
        problems += [f"{command}: {line}" for line in hooks if "nat" in line or "conntrack" in line]
    return problems


SCENARIO = Scenario(
    about="A machine without any netfilter module is scraped: nothing of it changes.",
    setup=setup,
    before={"conntrack_present": 0, 'conntrack_tracking{family="ipv4"}': 0},
    after={"conntrack_present": 0, 'nat_rules{family="ipv4"}': 0},
    check=check,
    network=False,
    needs_boot=True,
)
